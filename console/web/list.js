// The list of messages. Only the rows that are seen are drawn, however many there are.
import { Icon, html, use, useEffect, useLayoutEffect, useRef, useState } from "./ui.js"
import { most } from "./messages.js"
import { Preview, inLine } from "./message.js"
import { mine } from "./members.js"
import { count, many, toMillisecond } from "./words.js"

const beyond = 4 // rows that are drawn above and below what is seen
const plainOver = 200 // messages a second, which nobody reads: they have no colours
const page = 10 // rows

// useMedia tells whether a media query holds.
export function useMedia(query) {
  const [is, set] = useState(() => matchMedia(query).matches)
  useEffect(() => {
    const media = matchMedia(query), changed = () => set(media.matches)
    media.addEventListener("change", changed)
    return () => media.removeEventListener("change", changed)
  }, [query])
  return is
}

// A row is as high as its lines of text, of which a narrow screen needs two.
const rowHeight = wide => Math.round(parseFloat(getComputedStyle(document.documentElement).fontSize) * (wide ? 2 : 3.5))

export function List({ messages, members, chosen, choose, view, words, wide }) {
  const m = use(messages), own = use(mine), box = useRef(), pressed = useRef(), was = useRef(0)
  const [, redraw] = useState(0)
  const high = rowHeight(wide), n = m.length, size = box.current?.clientHeight ?? 600
  const draw = () => redraw(x => x + 1)

  useLayoutEffect(() => { // at once: a list that moved by itself looks like somebody who scrolls
    if (m.following) box.current.scrollTop = n * high
    was.current = box.current.scrollTop
  })
  useEffect(() => {
    const resized = new ResizeObserver(draw)
    resized.observe(box.current)
    return () => resized.disconnect()
  }, [])

  const end = Math.max(0, n * high - size)
  const top = m.following ? end : Math.min(box.current?.scrollTop ?? 0, end)
  const from = Math.max(0, Math.floor(top / high) - beyond), to = Math.min(n, Math.ceil((top + size) / high) + beyond)

  // In a flood the end has moved on before a scroll is told: only upwards is away from it.
  // A scroll that follows the end shows what is drawn already.
  const scrolled = () => {
    const { scrollTop, scrollHeight, clientHeight } = box.current, followed = m.following
    const up = scrollTop < was.current
    was.current = scrollTop
    if (scrollHeight - scrollTop - clientHeight < high) m.end()
    else if (up) m.stop()
    if (!followed || !m.following) draw()
  }
  const rowAt = e => m.at(Math.floor((e.clientY - box.current.getBoundingClientRect().top + box.current.scrollTop) / high))
  // What was pressed is chosen, wherever it has gone until the button was released.
  const clicked = () => {
    const one = pressed.current
    if (one && !one.mark) choose(one === chosen ? null : one, true)
  }
  const key = e => {
    const to = step(e.key, m, chosen)
    if (e.key === "Escape") choose(null)
    if (e.key === "Enter" && chosen) {
      e.preventDefault() // or it presses the button that has the focus then
      choose(chosen, true)
    }
    if (to === undefined) return
    e.preventDefault()
    if (e.key !== "End") m.stop()
    choose(m.at(to))
    const seen = box.current
    if (to * high < seen.scrollTop) seen.scrollTop = to * high
    if ((to + 1) * high > seen.scrollTop + size) seen.scrollTop = (to + 1) * high - size
    if (e.key === "End") m.end()
    draw()
  }
  const rows = []
  const slots = to - from + 1
  let active
  for (let i = from; i < to; i++) {
    const one = m.at(i)
    if (one === chosen) active = "row" + one.seq
    // Rows are drawn into what is there: that is much less work than to move them.
    rows.push(html`<${Row} key=${i % slots} of=${one} at=${i} all=${n} high=${high} member=${members.get(one.sender)} known=${members.known} own=${one.sender === own} chosen=${one === chosen} view=${view} plain=${m.rate > plainOver} />`)
  }
  return html`<div class="messages">
    <div class="log" ref=${box} role="listbox" tabindex="0" aria-label="Messages, the oldest first" aria-activedescendant=${active} onScroll=${scrolled} onKeyDown=${key} onPointerDown=${e => { pressed.current = rowAt(e) }} onClick=${clicked}>
      <div role="presentation" class="space" style=${{ height: n * high + "px" }}><div role="presentation" style=${{ transform: `translateY(${from * high}px)` }}>${rows}</div></div>
    </div>
    ${n ? null : html`<${Nothing} of=${m} words=${words} />`}
    ${m.following ? null : html`<button type="button" class="to-end" onClick=${() => { m.toEnd(); box.current.focus() }}><${Icon} name="down" />${m.fresh ? many(m.fresh, "new message") : "To the newest"}</button>`}
  </div>`
}

// step returns where a key goes from the chosen row, past what is no message.
function step(key, m, chosen) {
  const n = m.length
  if (!n) return undefined
  let at = n
  if (chosen) for (at = n - 1; at >= 0 && m.at(at) !== chosen; at--);
  const steps = { ArrowUp: -1, ArrowDown: 1, PageUp: -page, PageDown: page }
  let to = key === "Home" ? 0 : key === "End" ? n - 1 : at + steps[key]
  if (Number.isNaN(to)) return undefined
  to = Math.max(0, Math.min(n - 1, to))
  const on = key === "End" || steps[key] < 0 ? -1 : 1
  for (const direction of [on, -on]) {
    for (let i = to; i >= 0 && i < n; i += direction) if (!m.at(i).mark) return i
  }
  return undefined
}

function Nothing({ of, words }) {
  if (of.problem) return html`<p class="empty fault" role="alert"><strong>${of.problem.title}.</strong> ${of.problem.message}</p>`
  if (!of.ready && !of.total) return html`<p class="empty">Asking the gateway for what was said …</p>`
  if (words && of.total) return html`<p class="empty">None of ${many(of.total, "message")} has that.</p>`
  return html`<div class="empty"><p>Nothing was said here lately. What is said now appears at once.</p><p>Say something below, or <a href="#/start">from a device</a>.</p></div>`
}

const marks = {
  start: () => "What was said earlier is not kept any more",
  gap: () => "Something was said here that is not kept any more",
  skipped: n => `${many(n, "message")} left out: too many a second`,
  older: n => `${many(n, "older message was", "older messages were")} let go: ${count(most)} are kept here`,
}

function Row({ of, at, all, high, member, known, own, chosen, view, plain }) {
  const height = { height: high + "px" }
  if (of.mark) return html`<div class="row mark-row" role="option" aria-disabled="true" aria-selected="false" aria-setsize=${all} aria-posinset=${at + 1} style=${height}><span>${marks[of.mark](of.n)}</span></div>`
  const via = member?.via[0]?.protocol
  return html`<div id=${"row" + of.seq} class=${chosen ? "row chosen" : "row"} role="option" aria-selected=${String(chosen)} aria-setsize=${all} aria-posinset=${at + 1} style=${height}>
    <time>${toMillisecond(new Date(of.time))}</time>
    <span class="from">${via ? html`<i class=${"mark via-" + via} title=${via.toUpperCase()}></i>` : html`<i class=${known ? "mark hollow" : "mark unknown"} title=${known ? "not on this channel" : ""}></i>`}<bdi>${own ? "you" : inLine(of.name ?? String(of.sender))}</bdi>${of.type === "send" ? html`<em>to ${of.to ?? "you"}</em>` : null}</span>
    <bdi class="said"><${Preview} of=${of} view=${view} plain=${plain} /></bdi>
  </div>`
}
