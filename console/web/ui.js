// Parts that all screens share: the view library, stores, hooks, and small components.
import { h, render } from "./vendor/preact.js"
import { useEffect, useLayoutEffect, useMemo, useReducer, useRef, useState } from "./vendor/hooks.js"
import htm from "./vendor/htm.js"

export const html = htm.bind(h)
export { render, useEffect, useLayoutEffect, useMemo, useReducer, useRef, useState }

// store makes a value that components follow with use.
export function store(value) {
  const followers = new Set()
  return {
    get: () => value,
    set(next) {
      value = next
      for (const f of [...followers]) f(value)
    },
    follow(f) {
      followers.add(f)
      return () => followers.delete(f)
    },
  }
}

// use returns a store's value, and draws the component again when it changes.
export function use(s) {
  const [, redraw] = useReducer(n => n + 1, 0)
  useEffect(() => s.follow(redraw), [s])
  return s.get()
}

// useEvery calls f at once and then every ms milliseconds, but not while the page is hidden.
export function useEvery(ms, f, deps = []) {
  const latest = useRef(f)
  latest.current = f
  useEffect(() => {
    const tick = () => document.hidden || latest.current()
    tick()
    const timer = setInterval(tick, ms)
    document.addEventListener("visibilitychange", tick)
    return () => {
      clearInterval(timer)
      document.removeEventListener("visibilitychange", tick)
    }
  }, deps)
}

// useNow draws the component again every ms milliseconds, and returns the time.
export function useNow(ms = 1000) {
  const [now, set] = useState(Date.now)
  useEvery(ms, () => set(Date.now()), [ms])
  return now
}

// Lines of 24 × 24 units.
const paths = {
  overview: "M3 13h4l3-8 4 14 3-6h4",
  channels: "M4 6h16M4 12h16M4 18h9",
  devices: "M7 3h10v18H7zM11 17.500h2",
  callbacks: "M4 12h13M12 6l6 6-6 6M21 4v16",
  topics: "M5 4v14h6M5 10h6M14 10h6M14 18h6",
  homeassistant: "M3 12 12 4l9 8M6 10v10h12V10",
  settings: "M4 7h9M17 7h3M15 5v4M4 17h3M11 17h9M9 15v4",
  start: "M5 6l6 6-6 6M13 18h6",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  pause: "M9 5v14M15 5v14",
  play: "M8 5l11 7-11 7z",
  down: "M12 4v15M6 13l6 6 6-6",
  back: "M15 5l-7 7 7 7",
  close: "M6 6l12 12M18 6 6 18",
  copy: "M9 9h11v11H9zM5 15V4h11",
  done: "M5 13l4 4L19 7",
  send: "M4 12h14M12 6l6 6-6 6",
  leave: "M14 4h5v16h-5M4 12h10M8 8l-4 4 4 4",
  dark: "M20 14a8 8 0 0 1-10-10 8 8 0 1 0 10 10z",
  light: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v3M12 19v3M2 12h3M19 12h3M5 5l2 2M17 17l2 2M19 5l-2 2M7 17l-2 2",
}
export const Icon = ({ name }) => html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true"><path d=${paths[name]} /></svg>`

// Via names a protocol. Its colour never stands alone.
export const Via = ({ name, short }) => html`<span class="via"><i class="mark via-${name}" aria-hidden="true"></i><span class=${short ? "unseen" : ""}>${protocolName(name)}</span></span>`
export const protocolName = name => name === "callback" ? "Callback" : name === "console" ? "Console" : name.toUpperCase()

// Lamp is a state: good, watch, bad or idle. The shapes differ too.
export const Lamp = ({ state, children }) => html`<span class="lamp"><i class="lamp-${state}" aria-hidden="true"></i>${children}</span>`

// Fault shows an error of a call, or nothing.
export const Fault = ({ of }) => of ? html`<p class="fault" role="alert"><strong>${of.title ?? "It failed"}.</strong> ${of.message}</p>` : null

// Pending is what a part looks like while its data is on the way.
export const Pending = ({ lines = 4 }) => html`<div class="pending" aria-busy="true"><span class="unseen">Loading</span>${Array.from({ length: lines }, () => html`<i></i>`)}</div>`

// Empty says what would be here, and what to do next.
export const Empty = ({ children }) => html`<p class="empty">${children}</p>`

// Copy copies text. Browsers have no clipboard for pages that came over plain HTTP from
// another machine, so there is the old way too.
export function Copy({ text, label = "Copy" }) {
  const [state, set] = useState("")
  useEffect(() => {
    if (!state) return
    const timer = setTimeout(set, 2000, "")
    return () => clearTimeout(timer)
  }, [state])
  const copy = async () => set(await toClipboard(text) ? "Copied" : "Select it, and copy by hand")
  return html`<button type="button" class="quiet" onClick=${copy}><${Icon} name=${state === "Copied" ? "done" : "copy"} />${state || label}</button>`
}

async function toClipboard(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text).then(() => true, () => false)
  const area = document.createElement("textarea")
  area.value = text
  area.className = "unseen"
  const within = document.querySelector("dialog[open]") ?? document.body
  within.append(area)
  area.select()
  const ok = document.execCommand("copy")
  area.remove()
  return ok
}

// Dialog is modal. Escape and onClose end it.
export function Dialog({ title, onClose, children }) {
  const box = useRef()
  useEffect(() => {
    const before = document.activeElement
    box.current.showModal()
    return () => before?.focus?.()
  }, [])
  return html`<dialog ref=${box} aria-label=${title} onCancel=${e => { e.preventDefault(); onClose() }}>
    <header><h2>${title}</h2><button type="button" class="quiet" aria-label="Close" onClick=${onClose}><${Icon} name="close" /></button></header>
    ${children}
  </dialog>`
}

// Confirm asks before something that cannot be taken back. act does it, and may throw.
export function Confirm({ title, button, act, onClose, children }) {
  const [busy, run, problem] = useAct()
  return html`<${Dialog} title=${title} onClose=${onClose}>
    ${children}<${Fault} of=${problem} />
    <p class="buttons"><button type="button" class="danger" disabled=${busy} onClick=${() => run(async () => { await act(); onClose() })}>${button}</button>
    <button type="button" onClick=${onClose}>Keep it</button></p>
  </${Dialog}>`
}

// useAct runs one act at a time: [busy, run, problem].
export function useAct() {
  const [state, set] = useState({})
  const alive = useRef(true)
  useEffect(() => () => { alive.current = false }, [])
  const run = async act => {
    set({ busy: true })
    let problem
    try { await act() } catch (e) { problem = e }
    if (alive.current) set({ problem })
    return !problem
  }
  return [Boolean(state.busy), run, state.problem]
}

// announce has a screen reader say one thing, when it is free.
export function announce(text) {
  const box = document.getElementById("announced")
  if (box) box.textContent = text
}
