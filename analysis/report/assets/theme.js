// Light or dark: the system's choice until the button is pressed; kept for the next time where the browser allows it.
const root = document.documentElement;
function remembered(value) {
  try {
    if (value) localStorage.setItem("support-overlap-theme", value);
    return localStorage.getItem("support-overlap-theme");
  } catch {
    return null;
  }
}
if (["light", "dark"].includes(remembered())) root.dataset.theme = remembered();
document.getElementById("theme").addEventListener("click", () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  remembered(root.dataset.theme);
});
