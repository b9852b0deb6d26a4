const field = document.getElementById("domain"), items = [...document.querySelectorAll("#domains li")];
field.addEventListener("input", () => {
  const typed = field.value.slice(field.value.lastIndexOf("@") + 1).trim().toLowerCase();
  for (const item of items) item.hidden = !item.textContent.includes(typed);
});
