// The login page works without scripts; this only keeps a double click from sending the form twice.

const form = document.querySelector("form[action='/login']");
form?.addEventListener("submit", () => {
  const button = form.querySelector("button[type='submit']");
  setTimeout(() => (button.disabled = true));
});
addEventListener("pageshow", () => (form.querySelector("button[type='submit']").disabled = false));
