const ask = document.getElementById("ask"), name = "jitgate-" + ask.dataset.key;
let kept = null;
try { kept = JSON.parse(sessionStorage.getItem(name)); } catch {} // no storage: nothing is kept
if (kept && (Date.now() - kept.at > 3600000 || new URL(kept.form.to, location).origin !== location.origin)) {
  sessionStorage.removeItem(name);
  kept = null;
}
if (kept) {
  const form = document.getElementById("send");
  form.action = kept.form.to;
  form.enctype = kept.form.type;
  document.getElementById("to").textContent = kept.form.to;
  document.getElementById("fields").textContent = kept.form.fields.length;
  const sent = document.getElementById("sent");
  sent.hidden = !kept.sent;
  document.getElementById("gone").hidden = true;
  ask.hidden = false;
  // What goes out is what came in, in its order: controls of the form could not have all names.
  form.addEventListener("formdata", (event) => {
    for (const { name, value, file } of kept.form.fields) event.formData.append(name, file ? new File([], "", { type: "application/octet-stream" }) : value);
  });
  form.addEventListener("submit", () => {
    kept.sent = true;
    sessionStorage.setItem(name, JSON.stringify(kept));
    sent.hidden = false; // for those who come back
  });
  document.getElementById("discard").addEventListener("click", () => sessionStorage.removeItem(name));
}
