// What pages do beyond plain links and forms: the key "/", copying, and the live list. All of it works on what the
// server has rendered and escaped; no text is made into HTML here.
"use strict";

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target instanceof Element && event.target.closest("input, textarea, select")) return;
  const box = document.getElementById("q");
  if (box) {
    event.preventDefault();
    box.focus();
    box.select();
  }
});

document.addEventListener("click", (event) => {
  const button = event.target instanceof Element ? event.target.closest("[data-copy]") : null;
  if (!button || !navigator.clipboard) return;
  navigator.clipboard.writeText(button.dataset.copy).then(() => {
    button.textContent = button.dataset.copied;
  });
});

const live = document.getElementById("live");
if (live) {
  const rowsMax = 300;
  const againMilliseconds = 5000;
  const list = document.getElementById("live-rows");
  const state = document.getElementById("live-state");
  const empty = document.getElementById("live-empty");
  const pause = document.getElementById("live-pause");
  const filter = document.getElementById("live-filter");
  const kind = document.getElementById("live-kind");
  const reason = document.getElementById("live-reason");
  let held = [];
  let paused = false;

  const fits = (row) =>
    (!kind.value || row.dataset.kind === kind.value || (kind.value === "skipped" && row.dataset.skipped === "yes")) &&
    (!reason.value || row.dataset.reasons.split(" ").includes(reason.value)) &&
    (!filter.value || row.textContent.toLowerCase().includes(filter.value.toLowerCase()));

  const settle = () => {
    let shown = 0;
    for (const row of list.children) {
      row.hidden = !fits(row);
      if (!row.hidden) shown += 1;
    }
    empty.hidden = shown > 0;
  };

  const add = (rows) => {
    for (const row of rows) {
      if (row.id && document.getElementById(row.id)) continue;
      list.prepend(row);
    }
    while (list.children.length > rowsMax) list.lastElementChild.remove();
    settle();
  };

  const tell = (name) => {
    state.textContent = state.dataset[name];
    state.className = "state " + name;
  };

  const label = () => {
    pause.textContent = paused ? `${pause.dataset.go} (${held.length})` : pause.dataset.pause;
    pause.setAttribute("aria-pressed", String(paused));
  };

  pause.addEventListener("click", () => {
    paused = !paused;
    if (!paused) {
      add(held);
      held = [];
    }
    label();
  });
  for (const control of [filter, kind, reason]) control.addEventListener("input", settle);

  const watch = () => {
    const source = new EventSource(live.dataset.stream);
    source.addEventListener("rows", (event) => {
      const template = document.createElement("template");
      template.innerHTML = event.data; // escaped by the server's template, as the page itself
      const rows = [...template.content.children];
      if (paused) {
        held = held.concat(rows).slice(-rowsMax);
        label();
      } else {
        add(rows);
      }
    });
    source.addEventListener("state", (event) => tell(event.data));
    source.addEventListener("over", () => {
      source.close();
      window.location.reload();
    });
    source.onerror = () => {
      tell("lost");
      // The browser tries again by itself where the stream broke off, but never after an answer that is no stream.
      if (source.readyState === EventSource.CLOSED) window.setTimeout(watchAgain, againMilliseconds);
    };
  };

  const watchAgain = async () => {
    // Asked for as a piece of a page: without a session the answer is 401, not the form to sign in, which a reload
    // shows. No answer at all says nothing of the session.
    const headers = { "HX-Request": "true" };
    const answer = await fetch(window.location.href, { headers }).catch(() => null);
    if (answer && answer.status === 401) window.location.reload();
    else watch();
  };

  watch();
  label();
}
