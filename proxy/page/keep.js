const kept = document.getElementById("form");
// Whatever was kept goes after an hour, and a while after it was sent.
try {
  for (const key of Object.keys(sessionStorage)) {
    if (key.startsWith("jitgate-") && !(Date.now() < JSON.parse(sessionStorage.getItem(key)).until)) sessionStorage.removeItem(key);
  }
} catch {} // no storage
try {
  sessionStorage.setItem("jitgate-" + kept.dataset.key, JSON.stringify({ until: Date.now() + 3600000, form: JSON.parse(kept.textContent) }));
  document.getElementById("lost").hidden = true;
  document.getElementById("kept").hidden = false;
} catch {} // no storage, or no room: what the page says is right
