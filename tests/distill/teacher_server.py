"""A server of small models with the response formats of vLLM and SGLang, in a process of its own.

It is written against transformers alone: prompts are the processor's chat template, log-probabilities a float32
log-softmax over the model's whole width. `POST /control` sets its limit of log-probabilities and the faults that the
next requests meet; `GET /control` counts requests. `python teacher_server.py NAME=DIRECTORY …` prints its port.
"""

import base64
import io
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import scipy.io.wavfile
import torch
from transformers import AutoModelForMultimodalLM, AutoProcessor

MAX_LENGTH = 4096


class State:
    def __init__(self, paths: dict[str, str]) -> None:
        self.paths, self.loaded, self.lock = paths, {}, threading.Lock()
        self.reset()

    def reset(self) -> None:
        self.faults, self.max_logprobs, self.limit_named = [], 20, True
        self.native = next(iter(self.paths))  # the one model of `/generate`
        self.requests, self.busy, self.most_busy, self.sent = 0, 0, 0, []

    def model(self, name):
        if name not in self.loaded:
            processor = AutoProcessor.from_pretrained(self.paths[name])
            model = AutoModelForMultimodalLM.from_pretrained(self.paths[name], dtype=torch.float32).eval()
            self.loaded[name] = processor, model
        return self.loaded[name]


def samples(data: str):
    rate, waveform = scipy.io.wavfile.read(io.BytesIO(base64.b64decode(data)))
    assert rate == 16_000
    assert waveform.dtype.name == "float32"
    return waveform


def inputs_of_chat(processor, body):
    messages = []
    for message in body["messages"]:
        parts = message["content"]
        parts = [{"type": "text", "text": parts}] if isinstance(parts, str) else parts
        audio = [
            {"type": "audio", "audio": samples(p["input_audio"]["data"])} if p["type"] == "input_audio" else p
            for p in parts
        ]
        messages.append({"role": message["role"], "content": audio})
    return processor.apply_chat_template(
        messages,
        tokenize=True,
        return_dict=True,
        add_generation_prompt=body.get("add_generation_prompt", True),
        continue_final_message=body.get("continue_final_message", False),
        processor_kwargs={"audio_kwargs": {"sampling_rate": 16_000}},
    )


def inputs_of_text(processor, body):
    audio = samples(body["audio_data"].split(",", 1)[1])
    return processor(text=[body["text"]], audio=[audio], sampling_rate=16_000)


def tensors(inputs):
    return {name: value for name, value in inputs.items() if isinstance(value, torch.Tensor)}


@torch.no_grad()
def log_probabilities(model, inputs):
    return model(**tensors(inputs)).logits[0].float().log_softmax(-1)


@torch.no_grad()
def generate(processor, model, inputs, limit, temperature):
    generated = model.generate(
        **tensors(inputs), max_new_tokens=limit, do_sample=temperature > 0, temperature=temperature or None
    )
    ids = generated[0, inputs["input_ids"].shape[1] :].tolist()
    ends = model.generation_config.eos_token_id
    finished = ids[-1] in (ends if isinstance(ends, list) else [ends])
    return ids, processor.tokenizer.decode(ids, skip_special_tokens=True), "stop" if finished else "length"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: State

    def log_message(self, *_):
        pass

    def answer(self, tree, status=200, headers=(), cut=None):
        content = json.dumps(tree).encode()
        content = content if cut is None else content[:cut]
        self.send_response(status)
        for name, value in [*headers, ("Content-Type", "application/json"), ("Content-Length", str(len(content)))]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def refuse(self, message, status=400):
        self.answer({"error": {"message": message, "type": "BadRequestError", "code": status}}, status)

    def do_GET(self):
        state = self.state
        if self.path == "/v1/models":
            cards = [
                {"id": name, "object": "model", "root": path, "max_model_len": MAX_LENGTH}
                for name, path in state.paths.items()
            ]
            self.answer({"object": "list", "data": cards})
        elif self.path == "/control":
            keys = ("requests", "most_busy", "sent")
            self.answer({key: getattr(state, key) for key in keys})
        else:
            self.refuse("Not Found", 404)

    def do_POST(self):
        state = self.state
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/control":
            state.reset()
            for key, value in body.items():
                setattr(state, key, value)
            self.answer({})
            return
        with state.lock:
            state.requests += 1
            state.busy += 1
            state.most_busy = max(state.most_busy, state.busy)
            state.sent.append({key: value for key, value in body.items() if key not in ("messages", "audio_data")})
            fault = state.faults.pop(0) if state.faults else {}
        try:
            self.respond(body, fault)
        finally:
            with state.lock:
                state.busy -= 1

    def respond(self, body, fault):
        time.sleep(fault.get("sleep", 0.0))
        if "status" in fault:
            headers = [("Retry-After", fault["retry_after"])] if "retry_after" in fault else []
            self.answer({"error": {"message": "made to fail"}}, fault["status"], headers)
        elif fault.get("hang_up"):
            self.close_connection = True
        elif self.path == "/v1/chat/completions":
            self.chat(body, fault)
        elif self.path == "/generate":
            self.native(body, fault)
        else:
            self.refuse("Not Found", 404)

    def chat(self, body, fault):
        state = self.state
        if body["model"] not in state.paths:
            self.refuse(f"The model `{body['model']}` does not exist.", 404)
            return
        k = body.get("prompt_logprobs")
        if k is not None and k > state.max_logprobs:
            limit = f"max allowed: {state.max_logprobs}" if state.limit_named else "what is allowed"
            self.refuse(f"Requested prompt logprobs of {k}, which is greater than {limit}")
            return
        with state.lock:
            processor, model = state.model(body["model"])
            inputs = inputs_of_chat(processor, body)
            ids = inputs["input_ids"][0].tolist()
            if k is None:
                written, text, reason = generate(
                    processor, model, inputs, body["max_tokens"], body.get("temperature", 1.0)
                )
                choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason}
                choice["token_ids"] = written
                self.answer(
                    {"model": body["model"], "choices": [choice], "prompt_token_ids": ids}, cut=fault.get("cut")
                )
                return
            log_q = log_probabilities(model, inputs)
        k = min(k + fault.get("more", 0), log_q.shape[-1])
        entries = [None]
        for token, row in zip(ids[1:], log_q[:-1], strict=True):
            values, best = row.topk(k)
            rank = int((row >= row[token]).sum())
            entry = {token: {"logprob": float(row[token]), "rank": rank, "decoded_token": "x"}}
            for place, (value, id_) in enumerate(zip(values.tolist(), best.tolist(), strict=True), start=1):
                entry[id_] = {"logprob": value, "rank": place, "decoded_token": "x"}
            entries.append(entry)
        values, best = log_q[-1].topk(k)
        top = [
            {"token": f"token_id:{id_}", "logprob": max(value, -9999.0), "bytes": None}
            for value, id_ in zip(values.tolist(), best.tolist(), strict=True)
        ]
        content = [{**top[0], "top_logprobs": top}]
        choice = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "length"}
        tree = {"model": body["model"], "choices": [choice | {"logprobs": {"content": content}}]}
        tree |= {"prompt_logprobs": entries, "prompt_token_ids": ids}
        if fault.get("shifted"):  # as a server whose tokenizer is another
            tree["prompt_token_ids"] = [*ids[:-1], ids[-1] + 1]
        if fault.get("scores"):  # as a server that returns raw scores
            for entry in entries[1:]:
                for item in entry.values():
                    item["logprob"] += 5.0
        if fault.get("holes"):  # as a server that reads prompts from its cache
            tree["prompt_logprobs"] = [None] * len(entries)
        if fault.get("old"):
            del tree["prompt_token_ids"]
        self.answer(tree, cut=fault.get("cut"))

    def native(self, body, fault):
        state = self.state
        with state.lock:
            processor, model = state.model(state.native)
            inputs = inputs_of_text(processor, body)
            ids = inputs["input_ids"][0].tolist()
            if not body.get("return_logprob"):
                sampling = body["sampling_params"]
                written, text, reason = generate(
                    processor, model, inputs, sampling["max_new_tokens"], sampling["temperature"]
                )
                meta = {"finish_reason": {"type": reason}, "prompt_tokens": len(ids)}
                self.answer({"text": text, "output_ids": written, "meta_info": meta})
                return
            log_q = log_probabilities(model, inputs)

        def best(row):
            values, found = row.topk(body["top_logprobs_num"])
            return [[value, id_, None] for value, id_ in zip(values.tolist(), found.tolist(), strict=True)]

        own = [[None, ids[0], None]]
        own += [[float(row[token]), token, None] for token, row in zip(ids[1:], log_q[:-1], strict=True)]
        meta = {
            "prompt_tokens": len(ids),
            "input_token_logprobs": own,
            "input_top_logprobs": [None, *(best(row) for row in log_q[:-1])],
            "output_top_logprobs": [best(log_q[-1])],
            "finish_reason": {"type": "length"},
        }
        self.answer({"text": "x", "meta_info": meta}, cut=fault.get("cut"))


def main(arguments):
    torch.set_num_threads(1)
    Handler.state = State(dict(argument.split("=", 1) for argument in arguments))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    threading.Thread(target=lambda: (sys.stdin.read(), server.shutdown()), daemon=True).start()  # ends with its parent
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
