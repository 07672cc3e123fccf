// The chat's page. All that others have written becomes text, never markup.
'use strict';

const at = (id) => document.getElementById(id);
let socket = null;
let wanted = null; // {name, room} while one is in a room, or wants to be
let myName = '';
let wait = 0.5; // seconds before the next attempt to connect
let timer = 0;
let atEnd = true; // of the lines: new ones come into view, unless one reads further up

function show(text) { at('state').textContent = text; }

function connect() {
  const url = new URL('chat', location.href);
  url.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
  url.searchParams.set('room', wanted.room);
  url.searchParams.set('name', wanted.name);
  show('Connecting');
  const mine = socket = new WebSocket(url);
  mine.onmessage = (event) => { if (mine === socket) take(JSON.parse(event.data)); };
  mine.onclose = () => { if (mine === socket && wanted) again(); };
}

function again() {
  socket = null;
  at('people').replaceChildren();
  at('count').textContent = '';
  show('Reconnecting');
  timer = setTimeout(connect, wait * 1000 * (0.5 + Math.random()));
  wait = Math.min(wait * 2, 15);
}

function leave() {
  wanted = null;
  clearTimeout(timer);
  if (socket) socket.close(1000);
  socket = null;
  show('Not connected');
  at('where').textContent = '';
  at('inside').hidden = true;
  at('door').hidden = false;
  at('name').focus();
}

// The server tells the last lines each time that one connects: what was shown gives way to them.
function take(message) {
  switch (message.type) {
  case 'hello':
    wait = 0.5;
    myName = message.from;
    at('lines').replaceChildren();
    at('where').textContent = message.text + ', as ' + message.from;
    show('Connected');
    break;
  case 'people':
    at('people').replaceChildren(...message.names.map((name) => {
      const item = document.createElement('li');
      item.textContent = name === myName ? name + ' (you)' : name;
      return item;
    }));
    at('count').textContent = '(' + message.names.length + ')';
    break;
  default:
    add(message);
  }
}

function follow() {
  if (atEnd) at('lines').scrollTop = at('lines').scrollHeight;
}

function add(message) {
  const lines = at('lines');
  const item = document.createElement('li');
  const time = document.createElement('time');
  const date = new Date(message.time * 1000);
  time.dateTime = date.toISOString();
  time.textContent = date.toLocaleTimeString([], {hour: '2-digit', minute: '2-digit'});
  if (message.type === 'said') {
    const from = document.createElement('b');
    from.append(message.from, time);
    item.className = message.from === myName ? 'said mine' : 'said';
    item.append(from, message.text);
  } else {
    item.className = 'event';
    item.append(message.from + (message.type === 'came' ? ' has come' : ' has left'), time);
  }
  lines.append(item);
  while (lines.childElementCount > 500) lines.firstElementChild.remove();
  follow();
}

at('enter').addEventListener('submit', (event) => {
  event.preventDefault();
  const name = at('name').value.trim(), room = at('room').value.trim();
  if (!name || !room) return;
  wanted = {name, room};
  at('door').hidden = true;
  at('inside').hidden = false;
  connect();
  at('text').focus();
});

at('say').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = at('text').value.trim();
  if (!text || !socket || socket.readyState !== WebSocket.OPEN) return;
  socket.send(text);
  at('text').value = '';
});

at('leave').addEventListener('click', leave);
at('lines').addEventListener('scroll', () => {
  const lines = at('lines');
  atEnd = lines.scrollHeight - lines.scrollTop - lines.clientHeight < 80;
});
window.addEventListener('resize', follow); // a phone's keyboard
