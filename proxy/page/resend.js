const ask = document.getElementById("ask"), name = "jitgate-" + ask.dataset.key;
let kept = null;
// Whatever was kept goes after an hour, and a while after it was sent.
try {
  for (const key of Object.keys(sessionStorage)) {
    if (key.startsWith("jitgate-") && !(Date.now() < JSON.parse(sessionStorage.getItem(key)).until)) sessionStorage.removeItem(key);
  }
} catch {} // no storage
try { kept = JSON.parse(sessionStorage.getItem(name)); } catch {} // no storage: nothing is kept
const theirs = kept && kept.form.owner && kept.form.owner !== ask.dataset.owner; // somebody else's
if (kept && (theirs || new URL(kept.form.to, location).origin !== location.origin)) {
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
    kept.until = Math.min(kept.until, Date.now() + 600000);
    sessionStorage.setItem(name, JSON.stringify(kept));
    sent.hidden = false; // for those who come back
  });
  document.getElementById("discard").addEventListener("click", () => sessionStorage.removeItem(name));
}
