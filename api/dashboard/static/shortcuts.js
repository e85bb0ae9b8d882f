// What the reader does: copy buttons and keys.

/** A button with data-copy puts its words on the clipboard and says so. */
export function onCopy() {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-copy]");
    if (!button) return;
    const before = button.getAttribute("aria-label");
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.classList.add("done");
      button.setAttribute("aria-label", "Copied");
    } catch {
      button.setAttribute("aria-label", "The browser does not let pages copy here");
    }
    setTimeout(() => {
      button.classList.remove("done");
      if (before) button.setAttribute("aria-label", before);
      else button.removeAttribute("aria-label");
    }, 1500);
  });
}

/** `/` finds, `j` and `k` go through the rows, `f` follows the log. */
export function onKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.target.matches("input, textarea, select") || event.metaKey || event.ctrlKey || event.altKey) return;
    if (event.key === "/") {
      event.preventDefault();
      document.querySelector(".find input").focus();
    } else if (event.key === "j" || event.key === "k") {
      const rows = [...document.querySelectorAll("main a.nm, .att p a")];
      const at = rows.indexOf(document.activeElement) + (event.key === "j" ? 1 : -1);
      rows[Math.max(0, Math.min(rows.length - 1, at))]?.focus();
    } else if (event.key === "f") document.dispatchEvent(new Event("follow-log"));
  });
}
