const kept = document.getElementById("form");
try {
  sessionStorage.setItem("jitgate-" + kept.dataset.key, JSON.stringify({ at: Date.now(), form: JSON.parse(kept.textContent) }));
  document.getElementById("lost").hidden = true;
  document.getElementById("kept").hidden = false;
} catch {} // no storage, or no room: what the page says is right
