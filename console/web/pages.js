// Lists that come in pages, and are asked for again while they are looked at.
import { Empty, Fault, Pending, html, useEffect, useEvery, useRef, useState } from "./ui.js"
import { call } from "./session.js"
import { link } from "./live.js"
import { count } from "./words.js"

export const usualPage = 100, mostPage = 500 // things

// usePages asks for the list `field` of a call's answer. key returns what makes a thing of it
// the same one. The list is {items, problem, changed, more, reload, box, answer}; items is
// undefined until the first answer, answer is the last one. It is asked for again every ms milliseconds, when the
// question changes, and when the connection is back.
//
// A list does not move under the pointer: while the pointer or the keyboard is in its box,
// what the things say is renewed, but none comes or goes. changed is then a function that
// shows the list as it is now, as reload({ moving: true }) does.
export function usePages(path, { field, key, query = {}, every = 10000 }) {
  const [state, set] = useState({}), box = useRef(), asking = useRef(), latest = useRef(state), turning = useRef(false)
  const question = JSON.stringify([path, query])
  const put = change => { latest.current = { ...latest.current, ...change }; set(latest.current) }
  const ask = async (more, take) => {
    asking.current?.abort()
    const mine = asking.current = new AbortController()
    try {
      const answer = await call("GET", path, { query: { ...query, ...more }, signal: mine.signal })
      if (!mine.signal.aborted) put({ problem: undefined, ...take(answer) })
    } catch (e) {
      // Without a connection the last values stay, and the frame says so.
      if (!mine.signal.aborted && !(e.status === 0 && latest.current.items)) put({ problem: e })
    }
  }
  const reload = ({ moving } = {}) => {
    if (turning.current) return
    const { items, of } = latest.current, same = of === question
    const limit = same ? Math.min(mostPage, Math.max(usualPage, items?.length ?? 0)) : usualPage
    return ask({ limit }, answer => {
      const whole = { items: answer[field], next: answer.next, of: question, changed: undefined, answer }
      if (!same || !items) return whole
      if (!moved(items, whole, key)) return { items: renewed(items, whole, key), changed: undefined, answer }
      const held = !moving && items.length && (box.current?.matches(":hover, :focus-within") || items.length > mostPage)
      return held ? { items: renewed(items, whole, key), changed: () => put(whole), answer } : whole
    })
  }
  const again = useRef()
  again.current = reload
  useEvery(every, reload, [question])
  useEffect(() => link.follow(l => l.state === "open" && again.current()), [])
  useEffect(() => () => asking.current?.abort(), [])
  const { items, next, problem, changed, answer } = state
  const more = next !== undefined && (async () => {
    turning.current = true
    await ask({ from: next, limit: usualPage }, answer => ({ items: [...latest.current.items, ...answer[field]], next: answer.next }))
    turning.current = false
  })
  return { items, problem, changed, more, reload, box, answer }
}

// moved reports whether the same things are in another answer to the same question, in the
// same order.
const moved = (items, now, key) => {
  const n = Math.min(items.length, mostPage)
  return now.items.length !== n || now.items.some((item, i) => key(item) !== key(items[i]))
}

// renewed returns the same things as another answer tells of them.
const renewed = (items, now, key) => {
  const fresh = new Map(now.items.map(item => [key(item), item]))
  return items.map(item => fresh.get(key(item)) ?? item)
}

// Paged draws a list of usePages: children(items), or what there is instead of it.
export function Paged({ of, empty, children }) {
  const { items, problem, changed, more, box } = of, [busy, setBusy] = useState(false)
  const next = async () => { setBusy(true); await more(); setBusy(false) }
  return html`<div ref=${box} class="paged"><${Fault} of=${problem} />
    ${changed ? html`<p class="news"><button type="button" onClick=${changed}>The list has changed. Show it as it is now</button></p>` : null}
    ${items ? items.length ? children(items) : html`<${Empty}>${empty}</${Empty}>` : problem ? null : html`<${Pending} lines=6 />`}
    ${items && more ? html`<p class="buttons"><button type="button" disabled=${busy} onClick=${next}>More</button><span class="hint">${count(items.length)} shown</span></p>` : null}
  </div>`
}

// useAnswer asks one call again and again, and when `again` changes: [answer, problem, reload].
export function useAnswer(path, { query, every = 10000, again: now } = {}) {
  const [state, set] = useState({}), again = useRef(), asking = useRef()
  const question = JSON.stringify([path, query])
  const reload = async () => {
    asking.current?.abort()
    const mine = asking.current = new AbortController()
    try {
      const answer = await call("GET", path, { query, signal: mine.signal })
      if (!mine.signal.aborted) set({ answer, of: question })
    } catch (e) {
      if (!mine.signal.aborted) set(s => e.status === 0 && s.of === question ? s : { problem: e, of: question })
    }
  }
  again.current = reload
  useEvery(every, reload, [question, now])
  useEffect(() => link.follow(l => l.state === "open" && again.current()), [])
  useEffect(() => () => asking.current?.abort(), [])
  return state.of === question ? [state.answer, state.problem, reload] : [undefined, undefined, reload]
}
