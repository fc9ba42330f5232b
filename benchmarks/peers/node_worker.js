// A process of the Node peer: `node node_worker.js ORDER`. The same orders, loops and lines as the Python ones.
// A frame: u32 length of the rest | u32 who | u32 kind << 28 | number | body, which v8.serialize has made of a dict.
'use strict';
const fs = require('fs');
const net = require('net');
const v8 = require('v8');

const order = JSON.parse(process.argv[2]);
const HEAD = 12, JOINED = 65536;
const [SEND, CALL, REPLY, CAST, HELLO] = [0, 1, 2, 3, 4];
const RAW = 8; // a flag: the body is bytes that nobody serializes
const [MAIN, ANSWER, SUBSCRIBER, OTHER] = [0, 1, 2, 3];
const PAYLOAD = { path: 'docs/report.txt', n: 42, tags: ['a', 'b'] };
const END = {};
const [WINDOW, BURST, LEAST, WARM_UP] = [64, 256, 5, 0.2];

const now = () => Number(process.hrtime.bigint());
const tell = (what) => fs.writeSync(1, JSON.stringify(what) + '\n');

// What comes, frame by frame.
function frames(socket, onFrame) {
  let parts = [], have = 0, need = HEAD;
  socket.on('data', (data) => {
    if (have) {
      parts.push(data);
      have += data.length;
      if (have < need) return;
      data = Buffer.concat(parts);
      parts = [];
      have = 0;
    }
    let at = 0;
    while (data.length - at >= HEAD) {
      const stop = at + 4 + data.readUInt32LE(at);
      if (stop > data.length) break;
      const kind = data.readUInt32LE(at + 8);
      onFrame(data.readUInt32LE(at + 4), kind >>> 28, kind & 0xfffffff, data, at, stop);
      at = stop;
    }
    if (at < data.length) {
      need = data.length - at < HEAD ? HEAD : 4 + data.readUInt32LE(at);
      parts = [data.subarray(at)];
      have = data.length - at;
    }
  });
}

function put(socket, who, kind, number, value) {
  const raw = Buffer.isBuffer(value);
  const body = raw ? value : v8.serialize(value);
  const joined = body.length < JOINED;
  const head = Buffer.allocUnsafe(HEAD + (joined ? body.length : 0));
  head.writeUInt32LE(body.length + 8, 0);
  head.writeUInt32LE(who, 4);
  head.writeUInt32LE(((kind | (raw ? RAW : 0)) << 28 | number) >>> 0, 8);
  if (joined) {
    body.copy(head, HEAD);
    return socket.write(head);
  }
  socket.cork();
  socket.write(head);
  const free = socket.write(body);
  process.nextTick(() => socket.uncork());
  return free;
}

const value = (kind, data, at, stop) => (kind & RAW ? data.subarray(at + HEAD, stop) : v8.deserialize(data.subarray(at + HEAD, stop)));

// Counts one-way messages, in the broker and at the answering end.
let count = 0, ended = 0;
function take(message) {
  if (message.path !== undefined) count++;
  else if (++ended === order.count) {
    tell({ messages: count, end: now() });
    count = ended = 0;
  }
}

function broker() {
  const members = new Map(), subscribers = new Set();
  let last = OTHER;
  const server = net.createServer((socket) => {
    let me;
    socket.on('error', () => {});
    socket.on('close', () => { subscribers.delete(socket); if (members.get(me) === socket) members.delete(me); });
    frames(socket, (who, kind, number, data, at, stop) => {
      if (kind === HELLO) {
        me = who === ANSWER ? ANSWER : ++last;
        members.set(me, socket);
        if (who === SUBSCRIBER) subscribers.add(socket);
        put(socket, 0, HELLO, 0, END);
      } else if (kind === CAST) {
        const frame = data.subarray(at, stop);
        for (const one of subscribers) one.write(frame);
      } else if (who === MAIN) {
        const asked = value(kind, data, at, stop);
        if ((kind & 7) === CALL) put(socket, 0, REPLY, number, asked);
        else take(asked);
      } else {
        data.writeUInt32LE(me, at + 4);
        const to = members.get(who);
        if (to && !to.write(data.subarray(at, stop)) && to.writableLength > 1 << 24) {
          socket.pause();
          to.once('drain', () => socket.resume());
        }
      }
    });
  });
  server.listen({ path: order.path, backlog: 1024 }, () => tell({ pid: process.pid }));
}

function connect(role) {
  return new Promise((resolve, reject) => {
    const waiting = new Map();
    let number = 0;
    const socket = net.connect(order.path, () => put(socket, role, HELLO, 0, END));
    socket.on('error', reject);
    const client = {
      socket,
      call: (who, body) => new Promise((done) => {
        number = (number + 1) & 0xfffffff;
        waiting.set(number, done);
        put(socket, who, CALL, number, body);
      }),
    };
    frames(socket, (who, kind, asked, data, at, stop) => {
      if (kind === HELLO) return resolve(client);
      const body = value(kind, data, at, stop);
      if ((kind & 7) === REPLY) {
        waiting.get(asked)(body);
        waiting.delete(asked);
      } else if ((kind & 7) === CALL) put(socket, who, REPLY, asked, body);
      else take(body);
    });
  });
}

async function latency(call) {
  let warm = 0, end = now() + order.seconds * WARM_UP * 1e9;
  while (now() < end || !warm) { await call(); warm++; }
  const times = [];
  let before = now();
  end = before + order.seconds * 1e9;
  while (before < end || times.length < LEAST) {
    await call();
    const after = now();
    times.push(after - before);
    before = after;
  }
  times.sort((a, b) => a - b);
  const at = (percent) => times[Math.floor(times.length * percent / 100)] / 1e3;
  return { p50: at(50), p99: at(99), messages: warm + times.length };
}

async function inFlight(call) {
  let made = 0, end;
  const one = async () => { while (now() < end) { await call(); made++; } };
  const all = async (seconds) => {
    const before = made, start = now();
    end = start + seconds * 1e9;
    await Promise.all(Array.from({ length: WINDOW }, one));
    return (made - before) / (now() - start) * 1e9;
  };
  await all(order.seconds * WARM_UP);
  return { rate: await all(order.seconds), messages: made };
}

async function oneWay(socket, who, kind) {
  const start = now(), end = start + order.seconds * 1e9;
  while (now() < end) {
    for (let i = 0; i < BURST; i++) put(socket, who, kind, 0, PAYLOAD);
    if (socket.writableLength > 1 << 20) await new Promise((done) => socket.once('drain', done));
    else await new Promise(setImmediate);
  }
  put(socket, who, kind, 0, END);
  tell({ start });
}

async function drive(who) {
  const client = await connect(OTHER);
  tell({ pid: process.pid });
  for (const workload of order.workloads) {
    const [kind, size] = workload.split(':');
    await toldToGo();
    if (kind === 'latency') tell(await latency(() => client.call(who, PAYLOAD)));
    else if (kind === 'in-flight') tell(await inFlight(() => client.call(who, PAYLOAD)));
    else if (kind === 'payload') {
      const bytes = Buffer.alloc(Number(size));
      const found = await latency(() => client.call(who, bytes));
      tell({ ...found, mib_s: 2 * bytes.length / found.p50 * 1e6 / (1 << 20) });
    } else await oneWay(client.socket, who, kind === 'one-way' ? SEND : CAST);
  }
}

async function listen(role) {
  for (let i = 0; i < order.count; i++) await connect(role);
  tell({ pid: process.pid });
}

// Each line of the parent starts the next workload; its end ends this process.
let lines = 0, waiting = null;
process.stdin.on('data', (data) => {
  lines += data.length;
  if (waiting) waiting();
}).on('end', () => process.exit(0));

async function toldToGo() {
  while (!lines) await new Promise((done) => { waiting = done; });
  lines--;
}

({
  broker,
  answer: () => listen(ANSWER),
  subscribe: () => listen(SUBSCRIBER),
  drive: () => drive(ANSWER),
  drive_main: () => drive(MAIN),
})[order.role]();
