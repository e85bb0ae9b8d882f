// Copy buttons and keyboard shortcuts.

/** Make each button with `data-copy` copy this text to the clipboard, and say so. */
export function onCopy() {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-copy]");
    if (!button) return;
    const label = button.getAttribute("aria-label");
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.classList.add("done");
      button.setAttribute("aria-label", "Copied");
    } catch {
      button.setAttribute("aria-label", "The browser does not allow copying");
    }
    setTimeout(() => {
      button.classList.remove("done");
      if (label) button.setAttribute("aria-label", label);
      else button.removeAttribute("aria-label");
    }, 1500);
  });
}

/** Handle the keys: `/` searches, `j` and `k` move through the rows, `f` follows the log. */
export function onKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.target.matches("input, textarea, select") || event.metaKey || event.ctrlKey || event.altKey) return;
    if (event.key === "/") {
      event.preventDefault();
      document.querySelector(".search input").focus();
    } else if (event.key === "j" || event.key === "k") {
      const rows = [...document.querySelectorAll("main a.name, .alerts p a")];
      const next = rows.indexOf(document.activeElement) + (event.key === "j" ? 1 : -1);
      rows[Math.max(0, Math.min(rows.length - 1, next))]?.focus();
    } else if (event.key === "f") document.dispatchEvent(new Event("follow-log"));
  });
}
