import hashlib
import re
import sys
import unicodedata
from importlib import metadata, resources

import cn2an
import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.whisper.english_normalizer import BasicTextNormalizer

from distill.normalize import NORMALIZERS, Normalizer, normalizer, whisper
from distill.normalize.mandarin import mandarin
from overlap.extras import MissingExtraError

# What openai-whisper 20250625 itself makes of the text, ends stripped.
ORIGINAL_ENGLISH = [
    ("Mr. Smith won't, um, pay twenty-one dollars for color", "mister smith will not pay $21 for color"),
    ("I'm gonna catalogue 1,000 [noise] tires/tyres (aside).", "i am going to catalog 1000 tires tires"),
    ("nineteen ninety-five or twenty twenty five", "1995 or 2025"),
    ("double oh seven; triple four", "007444"),
    ("two and a half million pounds", "£2500000"),
    ("three point one four percent", "3.14%"),
    ("It's John's '90s café – naïve!", "it is john is 90s cafe naive"),
    ("the 1960s, 3rd and twenty first", "the 1960s 3rd and 21st"),
    ("she'd've ain't let's y'all'd", "she would have aint let us you all would"),
    ("one hundred and twenty three thousand four hundred five", "123405"),
    ("five cents and €3.50", "¢5 and €3.50"),
    ("hmm, uh... mhm", "."),
    ("minus forty degrees; nineteen oh five", "-40 degrees 1905"),
    ("Œuvre straße ½ cup", "oeuvre strasse one 2 cup"),
    ("kinda sorta", "kinda sorta"),
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Twenty-one,\tplease!\n", "twenty one please"),
        ("WE'RE / were / we\u2019re / we\u02bcre", "we're were we're we're"),
        ("'quoted' rock 'n' roll dogs'", "quoted rock n roll dogs"),
        ("U.S. 3.5 % $7 a_b a_'b", "u s 3 5 7 a b a b"),
        ("ＦＵＬＬ　ｗｉｄｔｈ １２ ﬁne", "full width 12 fine"),
        ("Café naïve cafe\u0301", "café naïve café"),
        ("zero\u200bwidth soft\u00adhyphen \ufeffmark", "zerowidth softhyphen mark"),
        ("a\x00b\x1fc\u2028d", "a b c d"),
        ("你好，世界。 你 好", "你好世界你好"),
        ("播放 Hello World 3 次", "播放hello world 3次"),
        ("コーヒー、ください 々", "コーヒーください々"),
        ("안녕 하세요", "안녕 하세요"),
        ("हिन्दी में", "हिन्दी में"),
        ("... —", ""),
        ("", ""),
        # İ is an i: the combining dot that lower-casing leaves is in no other form of the word
        ("İSTANBUL İyi I\u0307zmir ISPARTA", "istanbul iyi izmir isparta"),
        ("İSTANBUL İyi".lower(), "istanbul iyi"),
        ("i\u0307\u0301 j\u0307 \u012f\u0307 ȧ ı", "í j į ȧ ı"),
        ("ΟΔΟΣ Straße ẞ", "οδος straße ß"),
        # what stands where an apostrophe belongs is one
        *(
            (f"we{sign}re O{sign}Neil", "we're o'neil")
            for sign in "'\u2019\u2018\u201b\u2032\u00b4`\u02bb\u02bc\u02b9\uff07"
        ),
        *(
            (f"{sign}quoted{sign} rock {sign}n{sign} roll", "quoted rock n roll")
            for sign in "'\u2019\u2018\u00b4`\u2032\u02bb"
        ),
        ("Hawai\u02bbi \u02bbokina", "hawai'i okina"),
        ("e\u0301t\u00b4 cafe\u0301", "ét café"),
        # an accent or a vowel sign is part of its letter
        *(
            (unicodedata.normalize(form, text.replace("'", sign)), text.lower())
            for text in ("café's", "Zoë's", "й'я", "l'été'x", "x\u0302's о\u0301'к", "कि's")
            for form in ("NFC", "NFD")
            for sign in "'\u2019\u00b4\u02bc"
        ),
        ("'e\u0301te\u0301' x\u0302'", "été x\u0302"),
        # a zero-width space is one where scripts have no other
        ("ខ្មែរ\u200bភាសា", "ខ្មែរ ភាសា"),
        ("ພາສາ\u200bລາວ", "ພາສາ ລາວ".replace("ໍາ", "ຳ")),
        ("ภาษา\u200bไทย\u200babc", "ภาษา ไทย abc"),
        ("မြန်မာ\u200bဘာသာ", "မြန်မာ ဘာသာ"),
        ("क्\u200dष न\u200cम ab\u200bcd", "क्ष नम abcd"),
        # a fraction is no digit of the number before it
        ("1½ ½ 2 ½ 3¾5", "1 1 2 1 2 2 1 2 3 3 4 5"),
        ("10² x² 5⁻¹ ①②", "10 2 x2 5 1 1 2"),
    ],
)
def test_basic(text, expected):
    assert normalizer("basic").apply(text) == unicodedata.normalize("NFC", expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CALL 351", "call three five one"),
        ("call three five one", "call three five one"),
        ("Room9B, 0!", "room nine b zero"),
        ("1,000.50", "one zero zero zero five zero"),
        ("the '90s x² ３ ٣", "the nine zero s x two three three"),
        ("five", "five"),
        ("don\u00b4t, 351½ cafe\u0301's", "don't three five one one two café's"),
    ],
)
def test_spoken_digits(text, expected):
    assert normalizer("spoken_digits").apply(text) == expected


def test_each_digit_has_its_word():
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    assert normalizer("spoken_digits").apply("0123456789").split() == words


@settings(deadline=None)
@given(st.text())
def test_none_changes_nothing(text):
    assert normalizer("none").apply(text) == text


@settings(deadline=None)
@given(st.sampled_from(["basic", "spoken_digits"]), st.text())
def test_properties(name, text):
    apply = normalizer(name).apply
    once = apply(text)
    assert apply(once) == once
    assert once == " ".join(once.split())
    kept = [c for c in once if unicodedata.category(c)[0] in "PSZ" or unicodedata.category(c) in ("Cc", "Cf")]
    assert set(kept) <= {"'", " "}
    assert once == once.lower()
    if name == "spoken_digits":
        assert not any(unicodedata.category(c) == "Nd" for c in once)


@settings(deadline=None)
@given(
    st.sampled_from(["basic", "spoken_digits"]), st.text(st.sampled_from("aéÉİıiйїかが한αΐ'\u2019\u00b4\u02bb1½²- ."))
)
def test_accents_count_alike_in_one_character_and_in_two(name, text):
    apply = normalizer(name).apply
    assert apply(unicodedata.normalize("NFD", text)) == apply(text)


@settings(deadline=None)
@given(st.lists(st.text("abcxyz'", min_size=1).filter(lambda w: w[0] != "'" != w[-1]), min_size=1))
def test_plain_lower_case_words_are_left_alone(words):
    text = " ".join(w for w in words if "''" not in w)
    assert normalizer("basic").apply(text) == text


@pytest.mark.parametrize(("text", "expected"), ORIGINAL_ENGLISH)
def test_whisper_english_against_the_original(text, expected):
    assert normalizer("whisper_english").apply(text) == expected


def test_whisper_english_uses_the_original_table():
    """The table of openai-whisper 20250625, byte for byte."""
    table = resources.files("whisper_normalizer").joinpath("normalizers", "english.json").read_bytes()
    assert hashlib.sha256(table).hexdigest() == "6607f948be9824d2e1b2fa2223cd94c06c45afa4e05ea0e3d5e1f2bdffde2465"


@settings(deadline=None, max_examples=300)
@given(st.text(st.sampled_from("aBé0159 .,'$%-()½²\t")) | st.text())
def test_whisper_english_takes_any_text(text):
    once = normalizer("whisper_english").apply(text)
    assert once == " ".join(once.split())


@pytest.mark.parametrize(
    ("text", "basic", "letters"),
    [
        ("Où (rires) est-ce ?", "où est ce", "o ù e s t c e"),
        ("We're <unk> here [noise]!", "we re here", "w e r e h e r e"),
        ("你好，世界。ABC", "你好 世界 abc", "你 好 世 界 a b c"),
        ("हिन्दी ½", "ह न द 1 2", "ह न द 1 2"),
        ("", "", ""),
    ],
)
def test_whisper_basic(text, basic, letters):
    assert normalizer("whisper_basic").apply(text) == basic
    assert normalizer("whisper_basic_letters").apply(text) == letters


@settings(deadline=None)
@given(st.text())
def test_whisper_basic_is_that_of_transformers_with_its_ends_stripped(text):
    for name, split in (("whisper_basic", False), ("whisper_basic_letters", True)):
        assert normalizer(name).apply(text) == BasicTextNormalizer(split_letters=split)(text).strip()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # As AISHELL and WenetSpeech transcribe: no punctuation, numbers as spoken.
        ("广州市房地产中介协会分析", "广州市房地产中介协会分析"),
        ("今天 是 星期一", "今天是星期一"),
        ("我2018年買了2個 iPhone 15！", "我二零一八年买了两个iphone十五"),
        ("同比增长3.5%，达1,200万元。", "同比增长百分之三点五达一千二百万元"),
        ("10,000,000 人", "一千万人"),
        ("二〇一八年５月１日", "二零一八年五月一日"),
        ("拨打110或13812345678", "拨打幺幺零或幺三八幺二三四五六七八"),
        ("下午3:05，气温-5℃", "下午三点零五分气温负五摄氏度"),
        ("½ 和 3/4 以及 ⑨", "二分之一和四分之三以及九"),
        ("第\n2 个 人，第12个", "第二个人第十二个"),
        # Numerals inside words are words.
        ("一起去统一，万一不三不四", "一起去统一万一不三不四"),
        ("他说：“It's OK 吗？”《三国》", "他说it's ok吗三国"),
        ("It\u00b4s 世\u00b4界，cafe\u0301\u2019s", "it's世界café's"),
        ("ＨＥＬＬＯ　Ｗｏｒｌｄ，世'界", "hello world世界"),
        ("聽說讀寫國語", "听说读写国语"),
        ("呃那个花儿啊", "呃那个花儿啊"),
        ("乾燥", "乾燥"),
        ("3kg", "三千克"),
        ("……", ""),
        ("", ""),
    ],
)
def test_mandarin(text, expected):
    assert normalizer("mandarin").apply(text) == expected


@pytest.mark.parametrize("number", [*range(0, 130), 1001, 1010, 1100, 10001, 10100, 20304, 100000, 1000000, 305000000])
def test_mandarin_reads_numbers_as_cn2an_does(number):
    """Before 元 a number is a quantity; 两 and 二 before hundreds and more are equally right."""
    read = normalizer("mandarin").apply(f"{number}元")
    assert read.replace("两", "二") == cn2an.an2cn(str(number), "low").replace("两", "二") + "元"


@settings(deadline=None)
@given(st.text(st.sampled_from("一二两零百千万点个年元度好的中国聽，。“ ：abcAB'-"), max_size=20))
def test_mandarin_leaves_its_own_texts_alone(text):
    apply = normalizer("mandarin").apply
    once = apply(text)
    assert apply(once) == once


@settings(deadline=None)
@given(st.text(st.sampled_from("一两百个年元好，。 ：:/.-+%$℃12３90５abK'()[]<>\\\"{}\t\n")) | st.text())
def test_mandarin_takes_any_text(text):
    once = normalizer("mandarin").apply(text)
    assert once == " ".join(once.split())
    assert not set(once) & set("0123456789")
    assert {c for c in once if unicodedata.category(c)[0] in "PS"} <= {"'"}


@pytest.mark.parametrize(
    ("make", "name", "module"),
    [(whisper.english, "whisper_english", "whisper_normalizer"), (mandarin, "mandarin", "wetext")],
)
def test_missing_extra(monkeypatch, make, name, module):
    monkeypatch.setitem(sys.modules, module, None)
    message = (
        f"the text normalizer {name} needs the Python package {module}; install it with "
        "`pip install 'support-overlap[text]'`"
    )
    with pytest.raises(MissingExtraError, match=re.escape(message)):
        make()


def test_registry():
    for name in NORMALIZERS:
        item = normalizer(name)
        assert isinstance(item, Normalizer)
        assert item.name == name
        assert re.fullmatch(r"\d+( \(.+\))?", item.version)
        assert normalizer(name).version == item.version
    libraries = f"transformers {transformers.__version__}, whisper-normalizer {metadata.version('whisper-normalizer')}"
    assert normalizer("whisper_english").version == f"1 ({libraries})"
    assert normalizer("whisper_basic").version == f"1 (transformers {transformers.__version__})"
    assert normalizer("mandarin").version == f"2 (wetext {metadata.version('wetext')})"
    assert {name for name in NORMALIZERS if normalizer(name).rate == "mer"} == {"mandarin"}
    message = (
        "there is no text normalizer 'whisper'; choose one of: basic, mandarin, none, spoken_digits, whisper_basic, "
        "whisper_basic_letters, whisper_english"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        normalizer("whisper")
