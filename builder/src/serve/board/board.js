"use strict";
// Replaces the changing part of the page whenever the server sends a new version. The server has
// escaped this text, as it escapes the page itself.
const RELOAD_INTERVAL = 10000;
const board = document.getElementById("board");
const live = document.getElementById("live");
const source = new EventSource("/board/events");
const say = (text) => {
  if (live.textContent !== text) live.textContent = text;
};
// Keep the page if the server does not answer.
const reload = () =>
  fetch("/board").then(
    (answer) => answer.ok && location.reload(),
    () => {},
  );
source.onopen = () => say("Live: this page follows every change.");
source.onerror = () => {
  if (source.readyState !== EventSource.CLOSED) {
    say("The connection to the server is lost. Trying again.");
    return;
  }
  // A browser does not try again after an answer other than 200, such as 503.
  say("The server sends no changes to this page, which therefore reloads every 10 seconds.");
  setInterval(reload, RELOAD_INTERVAL);
};
source.onmessage = (event) => {
  board.innerHTML = JSON.parse(event.data);
};
