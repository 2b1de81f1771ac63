// The page's one WebSocket to the gateway. It comes back by itself, and asks again for all
// that the screens want.
import { store } from "./ui.js"
import { address, leave, Problem, session } from "./session.js"

// link is the state of the connection: {state: "connecting" | "open" | "lost", since, again,
// why}. since is when it began, again when it is tried next; both in milliseconds.
export const link = store({ state: "connecting", since: Date.now() })

const shortest = 500, longest = 10000 // ms between attempts
const answerPatience = 8000
const leastMost = 200 // messages a second of a channel that are always taken

let socket, timer
let wait = shortest
let refs = 0
const follows = new Map()  // what → handlers
const listens = new Map()  // channel → {handlers, since, last, most}
const waiting = new Map()  // ref → {resolve, reject}

// tell sends a request, and reports whether there was a connection for it.
function tell(request) {
  if (socket?.readyState !== WebSocket.OPEN) return false
  socket.send(JSON.stringify(request))
  return true
}

// connect opens the connection, and again whenever somebody else has signed in.
export function connect() {
  let of
  session.follow(me => {
    if (me?.token === of?.token && Boolean(me) === Boolean(of)) return
    of = me
    hangUp()
    if (me) dial()
  })
  of = session.get()
  if (of) dial()
  document.addEventListener("visibilitychange", () => {
    for (const what of follows.keys()) tell({ [document.hidden ? "unfollow" : "follow"]: what })
    if (!document.hidden && link.get().state === "lost") dial()
  })
  addEventListener("pagehide", hangUp)
  addEventListener("pageshow", e => e.persisted && session.get() && dial())
}

function hangUp() {
  clearTimeout(timer)
  const old = socket
  socket = undefined
  old?.close()
  refuseAll("The connection was lost.")
}

function dial() {
  hangUp()
  const url = address("operator/live")
  url.protocol = url.protocol.replace("http", "ws")
  const mine = socket = new WebSocket(url)
  mine.onopen = () => {
    mine.send(JSON.stringify({ token: session.get()?.token ?? "" }))
    wait = shortest
    link.set({ state: "open", since: Date.now() })
    if (!document.hidden) for (const what of follows.keys()) tell({ follow: what })
    for (const [channel, l] of listens) tell({ listen: channel, since: sinceOf(l), most: l.most })
  }
  mine.onmessage = e => { for (const line of e.data.split("\n")) if (line) take(JSON.parse(line), line) }
  mine.onclose = e => {
    if (socket !== mine) return
    if (e.code === 4401) {
      socket = undefined
      leave("Your session has ended. Please sign in again.")
      return
    }
    if (e.code === 1013) askForLess()
    lost({ 1013: "it read too slowly", 1001: "the gateway stopped", 4408: "it is slow" }[e.code] ?? "")
  }
}

function lost(why) {
  socket = undefined
  refuseAll("The connection was lost.")
  const before = link.get()
  link.set({ state: "lost", since: before.state === "lost" ? before.since : Date.now(), again: Date.now() + wait, why: why || before.why })
  timer = setTimeout(() => session.get() && dial(), wait)
  wait = Math.min(wait * 1.8, longest)
}

// silent ends a connection that looks open though nobody answers on another one.
export function silent() {
  const old = socket
  if (link.get().state !== "open") return
  lost("the gateway does not answer")
  old.close()
}

// askForLess has a page that read too slowly take fewer messages a second from now on.
function askForLess() {
  for (const l of listens.values()) l.most = Math.max(leastMost, Math.ceil(l.most / 2))
}

function refuseAll(why) {
  for (const w of waiting.values()) w.reject(new Problem("Not sent", why, 0))
  waiting.clear()
}

// sinceOf returns from where on a channel is listened to again: nothing is missed, or doubled.
function sinceOf(l) {
  if (l.last || !l.began) return l.last ?? l.since
  return Math.ceil((Date.now() - l.began) / 1000) + "s"
}

// take gives one line, and its text, to those who want it.
function take(line, text) {
  if (line.ref !== undefined && waiting.has(line.ref)) {
    const w = waiting.get(line.ref)
    waiting.delete(line.ref)
    if (line.type === "refused") w.reject(new Problem(line.problem.title, line.problem.detail, line.problem.status, { field: line.problem.field }))
    else w.resolve(line)
    return
  }
  for (const handle of follows.get(line.type) ?? []) handle(line)
  const l = listens.get(line.channel)
  if (!l || follows.has(line.type)) return
  if (line.id) l.last = line.id
  if (line.type === "listening") l.began ??= Date.now()
  for (const handle of l.handlers) handle(line, text)
}

// follow has f called with each line of "rates", "channels" or "callbacks". It returns what
// ends it.
export function follow(what, f) {
  if (!follows.has(what)) {
    follows.set(what, new Set())
    if (!document.hidden) tell({ follow: what })
  }
  follows.get(what).add(f)
  return () => {
    follows.get(what).delete(f)
    if (follows.get(what).size) return
    follows.delete(what)
    tell({ unfollow: what })
  }
}

// listen has f called with each line about a channel, and its text: messages, {type: "gap"},
// {type: "skipped"}, {type: "listening"}. since is as on a stream, most is how many messages a
// second are taken. It returns what ends it.
export function listen(channel, { since, most = leastMost }, f) {
  const l = { handlers: new Set([f]), since, most }
  listens.set(channel, l)
  tell({ listen: channel, since, most })
  return () => {
    if (listens.get(channel) !== l) return
    listens.delete(channel)
    tell({ unlisten: channel })
  }
}

// say says something on a channel, and returns the gateway's answer, or throws a Problem.
export function say(what) {
  return new Promise((resolve, reject) => {
    const ref = ++refs
    if (!tell({ say: what, ref })) {
      reject(new Problem("Not sent", "There is no connection to the gateway just now.", 0))
      return
    }
    waiting.set(ref, { resolve, reject })
    setTimeout(() => waiting.delete(ref) && reject(new Problem("No answer", "The gateway took too long. It may have been said.", 0)), answerPatience)
  })
}
