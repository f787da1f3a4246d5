// Sets the chosen theme before the page is drawn. Without a choice the system decides.
(() => {
  const root = document.documentElement;
  function chosen() {
    try {
      return localStorage.getItem("theme") ?? "";
    } catch {
      return ""; // the browser keeps nothing
    }
  }
  function set(theme) {
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    else delete root.dataset.theme;
  }
  set(chosen());
  document.addEventListener("DOMContentLoaded", () => {
    const select = /** @type {HTMLSelectElement} */ (document.querySelector("#theme"));
    select.closest("label").hidden = false;
    select.value = root.dataset.theme ?? "";
    select.addEventListener("change", () => {
      set(select.value);
      try {
        localStorage.setItem("theme", select.value);
      } catch {
        // the choice lasts until the next page
      }
    });
  });
})();
