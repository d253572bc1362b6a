"use strict";
// Shows the documents of the agent's admin socket (docs/status.md). Whatever is in them becomes text and never
// markup: parts of it are others' words, those of a certificate for one.

const STATUS_MS = 2000;
const HISTORY_MS = 10000;
const PAUSE_MS = 1000;
const PATIENCE_MS = 15000;
const LEAST_SLOTS = 30; // Of the history: five minutes, so that a new agent's graphs can be read.
const HEIGHT = 40;
const MOST_EVENTS = 200;
const WORDS = { // What a state looks like besides its colour.
  healthy: ["good", "✓"], degraded: ["poor", "!"], panic: ["bad", "✗"], "not-attached": ["bad", "✗"],
  unhealthy: ["bad", "✗"], draining: ["poor", "–"], unknown: ["poor", "?"],
};

const $ = (id) => document.getElementById(id);
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const dash = (text) => text ?? "–";
const ms = (us) => (us === null || us === undefined ? "–" : (us / 1000).toFixed(1) + " ms");
const two = (number) => String(number).padStart(2, "0");

function age(time) {
  const s = Math.floor(time / 1000);
  if (s < 1) return time + " ms";
  if (s < 60) return s + "." + Math.floor((time % 1000) / 100) + " s";
  if (s < 3600) return Math.floor(s / 60) + "m" + two(s % 60) + "s";
  if (s < 86400) return Math.floor(s / 3600) + "h" + two(Math.floor((s % 3600) / 60)) + "m";
  if (s >= 8640000) return Math.floor(s / 86400) + "d";
  return Math.floor(s / 86400) + "d" + two(Math.floor((s % 86400) / 3600)) + "h";
}

// Sets only what is another, so that a selection and the reader's place stay.
function say(node, text, kind = "") {
  if (node.textContent !== text) node.textContent = text;
  if (node.className !== kind) node.className = kind;
}

function list(section, lines) {
  section.hidden = lines.length === 0;
  const ul = section.querySelector("ul");
  while (ul.childElementCount > lines.length) ul.lastChild.remove();
  lines.forEach((line, at) => say(ul.children[at] ?? ul.appendChild(document.createElement("li")), line));
}

// A cell is a text, a pair of text and class, or a node. The first one of a row is its header.
function fill(table, rows) {
  const body = table.tBodies[0];
  while (body.rows.length > rows.length) body.lastChild.remove();
  rows.forEach((cells, at) => {
    const row = body.rows[at] ?? body.insertRow();
    cells.forEach((cell, column) => {
      let node = row.cells[column];
      if (!node) {
        node = row.appendChild(document.createElement(column ? "td" : "th"));
        if (!column) node.scope = "row";
      }
      if (cell instanceof Node) {
        if (node.firstChild !== cell) node.replaceChildren(cell);
      } else {
        say(node, ...[cell].flat());
      }
    });
  });
}

function word(state, text = state) {
  const [kind, sign] = WORDS[state] ?? ["", ""];
  return [`${sign} ${text}`.trim(), kind];
}

// The graphs, by pool and address.
const graphs = new Map();
const key = (pool, address) => pool + " " + address;

function shape(name, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [attribute, value] of Object.entries(attributes)) node.setAttribute(attribute, value);
  return node;
}

// The newest slot is at the right; where there was no round trip the line has a gap.
function line(values, slots, top) {
  let path = "", drawn = false;
  values.forEach((value, at) => {
    if (value !== null) {
      const x = slots - values.length + at + 0.5, y = (HEIGHT - 2 - (value / top) * (HEIGHT - 4)).toFixed(1);
      path += drawn ? `L${x} ${y}` : `M${x} ${y}h.01`;
    }
    drawn = value !== null;
  });
  return path;
}

function showHistory({ slotMs, backends }) {
  const all = backends.flatMap((backend) => backend.smoothedUs.filter((value) => value !== null));
  const top = Math.max(1, ...all);
  const slots = Math.max(LEAST_SLOTS, ...backends.map((backend) => backend.smoothedUs.length));
  say($("graph"), `RTT, last ${age(slots * slotMs)}` + (all.length ? `, 0 to ${ms(top)}` : ""));
  for (const { pool, address, bestUs, smoothedUs } of backends) {
    const graph = graphs.get(key(pool, address)) ?? shape("svg", {
      preserveAspectRatio: "none", role: "img",
    });
    graph.setAttribute("viewBox", `0 0 ${slots} ${HEIGHT}`);
    graphs.set(key(pool, address), graph);
    const known = smoothedUs.filter((value) => value !== null);
    const last = smoothedUs.findLast((value) => value !== null);
    graph.setAttribute("aria-label", known.length
      ? `${age(smoothedUs.length * slotMs)}: ${ms(Math.min(...known))} to ${ms(Math.max(...known))}, last ${ms(last)}`
      : "no round trip");
    graph.replaceChildren(
      shape("line", { x1: 0, x2: slots, y1: HEIGHT - 1, y2: HEIGHT - 1 }),
      shape("path", { class: "best", d: line(bestUs, slots, top) }),
      shape("path", { d: line(smoothedUs, slots, top) }),
    );
  }
}

function showBackends(pools) {
  const now = new Set();
  const rows = pools.flatMap((pool) => pool.backends.map((backend) => {
    const { address, state, sentinel, evidence, lastProbe, certificate } = backend;
    now.add(key(pool.name, address));
    const why = [backend.reason, backend.run && `${backend.run.count} of ${backend.run.needed} ${backend.run.direction}`,
      backend.doubt && `doubted: ${backend.doubt}`, backend.closesInMs !== null && `closes in ${age(backend.closesInMs)}`,
      backend.heldMs !== null && `held back for ${age(backend.heldMs)}`, certificate?.warning];
    return [
      address, pool.name, word(state, backend.drained ? `${state} (drained)` : state), [age(backend.stateAgeMs), "number"],
      [why.filter(Boolean).join("; "), "text"], [ms(backend.rttUs), "number"], graphs.get(key(pool.name, address)) ?? "–", [String(backend.band), "number"],
      [dash(evidence && String(evidence.active)), "number"], [dash(evidence && String(evidence.established)), "number"],
      sentinel.state + (sentinel.ageMs === null ? "" : " " + age(sentinel.ageMs)),
      !evidence ? "–" : evidence.suspectMs ? word("degraded", `suspect for ${age(evidence.suspectMs)}`) : "good",
      lastProbe ? `${lastProbe.outcome}, ${age(lastProbe.ageMs)} ago` : "–",
      !certificate ? "–" : certificate.endsInS < 0 ? word("panic", "ended") : age(certificate.endsInS * 1000),
      dash(backend.version),
    ];
  }));
  for (const one of graphs.keys()) if (!now.has(one)) graphs.delete(one);
  fill($("backends"), rows);
}

function showFrontends(frontends) {
  fill($("frontends"), frontends.map((frontend) => {
    const unused = frontend.backends.filter((backend) => backend.reason);
    const used = frontend.backends.filter((backend) => backend.used).length;
    return [
      frontend.name, frontend.kind, [frontend.addresses.join("\n"), "lines"], frontend.pool, frontend.scope, frontend.policy,
      `${used} of ${frontend.backends.length}`,
      [unused.map((backend) => `${backend.address}: ${backend.reason}`).join("; ") || "–", "text"],
    ];
  }));
}

// Interfaces of sandboxed pods; nothing where none are to be served.
function guestFacts(sandboxes) {
  if (!sandboxes) return [];
  const state = (guest) => (guest.problem ? word("degraded", guest.problem)
    : guest.oneWay ? "left alone: answers go past the programs" : `served by ${guest.attachedBy}, ${guest.translated} flows`);
  return [
    ...(sandboxes.problem ? [["guests", word("degraded", sandboxes.problem)]] : []),
    ...sandboxes.interfaces.map((guest) => [`guest ${guest.name}`, state(guest)]),
    ...sandboxes.leftAlone.map((line) => ["guests", line]),
  ];
}

// The control-plane VIP; nothing where there is none.
function vipFacts(vip, ownership) {
  if (!vip) return [];
  const lease = ownership && ownership.lease;
  const owner = !lease ? vip.ownership : lease.ownedMs !== null ? `this node, for ${age(lease.ownedMs)}` : dash(lease.holder);
  const members = vip.members.map((member) => `${member.address} (${member.own ? "own" : dash(member.way)})`);
  return [
    ["VIP", `${vip.addresses.join(", ")} port ${vip.port}, owner ${owner}, on ${dash(vip.interface)} (${dash(vip.mode)})`],
    ["VIP members", members.join(", ")],
    ...vip.problems.map((line) => ["VIP", word("degraded", line)]),
  ];
}

function showFacts(status) {
  const { agent, config, datapath, lease, closing, tableOnDisk, journal, discovery, log } = status;
  const test = datapath.selfTest;
  const file = ({ file, error }) => (error ? word("degraded", `${file}: ${error}`) : dash(file));
  const rows = [
    ["agent", `nllb ${agent.version}, pid ${agent.pid}${agent.adopted ? ", took over from an earlier one" : ""}`],
    ["configuration", config.lastReloadError ? word("degraded", `refused: ${config.lastReloadError}`)
      : `${config.path}, number ${config.generation}, ${age(config.ageMs)} old`],
    ["log", log.level + (log.backInMs === null ? "" : `, ${log.usual} again in ${age(log.backInMs)}`)],
    ["attached to", datapath.cgroup + (datapath.cgroupIsRoot ? " (root)" : "")],
    ...datapath.links.map((link) => [link.hook, link.problem ? word("panic", link.problem) : `program ${link.programId}`]),
    ...datapath.watched.map((place) =>
      [place.whose, place.problem ? word("panic", place.problem) : `translated, ${place.path}`]),
    ["self-test", test.failures.length ? word("panic", test.failures.join("; "))
      : test.ageMs === null ? "not run yet" : `passed ${age(test.ageMs)} ago`],
    ["maps", datapath.syncError ? word("degraded", datapath.syncError) : `in sync, ${datapath.mapWrites} writes`],
    ["lease", `${age(lease.remainingMs)} of ${age(lease.lengthMs)}`],
    ["closing", closing.mode + (closing.reason ? `: ${closing.reason}` : "")],
    ["table on disk", file(tableOnDisk)],
    ["journal", file(journal)],
    ...discovery.sources.map((source) => [`source ${source.name}`, source.error ? word("degraded", source.error)
      : `${source.hosts} hosts` + (source.heardMs === null ? "" : `, heard ${age(source.heardMs)} ago`)]),
    ...status.pools.map((pool) => [`pool ${pool.name}`, `probe ${pool.probe} every ${age(pool.probeIntervalMs)}`
      + (pool.pingIntervalMs === null ? "" : `, ping every ${age(pool.pingIntervalMs)}`)]),
    ...status.listeners.map((listener) => [`listener ${listener.address}`,
      `${listener.state.state}${listener.state.reason ? ": " + listener.state.reason : ""}, ${listener.active} active`]),
    ...guestFacts(status.sandboxes),
    ...vipFacts(status.vip, status.vipOwnership),
  ];
  fill($("facts"), rows);
  fill($("counters"), Object.entries(status.counters).map(([name, count]) => [name, [String(count), "number"]]));
}

function showStatus(status) {
  const { verdict, agent, lease } = status;
  const [first, kind] = word(verdict.state);
  say($("verdict"), first + (verdict.reasons.length ? `: ${verdict.reasons[0]}` : ""), kind);
  document.title = `${verdict.state} – nllb`;
  say($("agent"), `nllb ${agent.version}, up ${age(agent.uptimeMs)}, lease ${age(lease.remainingMs)} of ${age(lease.lengthMs)}`);
  list($("problems"), verdict.reasons.slice(1));
  list($("notes"), verdict.notes);
  showBackends(status.pools);
  showFrontends(status.frontends);
  showFacts(status);
}

const KINDS = { failover: "bad", "panic-entered": "bad", recovered: "good", "panic-left": "good", attach: "poor" };
let events = [];

function showEvents() {
  fill($("events"), events.map(({ timeMs, what, whose, text }) => [
    new Date(timeMs).toISOString().replace("T", " ").slice(0, 23),
    [what, KINDS[what] ?? ""], whose || "–", [text, "text"],
  ]));
}

async function ask(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(PATIENCE_MS) }).catch(() => {
    throw new Error("nllb ui has ended: start it again and open the address that it prints");
  });
  if (!answer.ok) throw new Error((await answer.text()).trim());
  return answer.json();
}

// What is wrong, and since when what is shown is old.
let heard = null;
function trouble(error) {
  document.body.classList.toggle("old", Boolean(error));
  $("trouble").hidden = !error;
  if (!error) return;
  const old = heard === null ? "" : ` What is below was true at ${heard.toISOString().slice(11, 19)} UTC.`;
  say($("trouble"), `${error.message}. Asking again.${old}`);
  document.title = "no answer – nllb";
  say($("verdict"), "no answer from the agent", "bad");
}

// The number of the newest entry, once it is known.
let newest = null;

async function followStatus() {
  for (let at = 0; ; at += STATUS_MS) {
    try {
      const status = await ask("v1/status");
      if (at % HISTORY_MS === 0 || heard === null) showHistory(await ask("v1/history"));
      heard = new Date();
      newest ??= status.journal.newest;
      showStatus(status);
      trouble(null);
    } catch (error) {
      trouble(error);
    }
    await pause(STATUS_MS);
  }
}

async function followEvents() {
  let after = null;
  for (;;) {
    if (after === null && newest !== null) after = Math.max(0, newest - MOST_EVENTS);
    try {
      const answer = after === null ? null : await ask(`v1/events?after=${after}`);
      if (answer && answer.newest < after) {
        // Another journal.
        [after, events] = [0, []];
      } else if (answer?.entries.length) {
        after = answer.entries.at(-1).seq;
        events = [...answer.entries.toReversed(), ...events].slice(0, MOST_EVENTS);
        showEvents();
        if (answer.more) continue;
      }
    } catch {
      // Who asks for the status tells of it.
    }
    await pause(PAUSE_MS);
  }
}

followStatus();
followEvents();
