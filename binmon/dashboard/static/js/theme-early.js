// Runs before the first paint, so that a page never flashes in the wrong colours. Kept free of modules for that reason.
"use strict";
(() => {
  let chosen = "auto";
  try {
    chosen = localStorage.getItem("binmon.theme") ?? "auto";
  } catch {
    chosen = "auto"; // storage is forbidden: the system's choice holds
  }
  const dark = chosen === "dark" || (chosen !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();
