"use strict";
// Replaces the changing part of the page whenever the server sends a new version. The server has
// escaped this text, as it escapes the page itself.
const board = document.getElementById("board");
const live = document.getElementById("live");
const source = new EventSource("/board/events");
const say = (text) => {
  if (live.textContent !== text) live.textContent = text;
};
source.onopen = () => say("Live: this page follows every change.");
// A browser does not try again after an answer other than 200, such as 503.
source.onerror = () =>
  say(
    source.readyState === EventSource.CLOSED
      ? "The server sends no changes to this page. Reload the page."
      : "The connection to the server is lost. Trying again.",
  );
source.onmessage = (event) => {
  board.innerHTML = JSON.parse(event.data);
};
