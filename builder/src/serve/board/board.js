"use strict";
// Replaces the changing part of the page whenever the server sends a new one. The server has
// escaped it, as it escapes the page itself.
const board = document.getElementById("board");
const live = document.getElementById("live");
const source = new EventSource("/board/events");
const say = (text) => {
  if (live.textContent !== text) live.textContent = text;
};
source.onopen = () => say("Live: this page follows every change.");
source.onerror = () => say("The connection to the server is lost. Trying again.");
source.onmessage = (event) => {
  board.innerHTML = JSON.parse(event.data);
};
