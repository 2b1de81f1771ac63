// The members of one channel: who they are, how they came, and since when.
import { Confirm, Via, html, store, use, useMemo, useNow, useState } from "./ui.js"
import { call, mayDo } from "./session.js"
import { inLine } from "./message.js"
import { Paged, usePages } from "./pages.js"
import { count, span } from "./words.js"

// mine is the id of the sender that speaks for who looks here; undefined: it has said nothing.
export const mine = store(undefined)

export const nameOf = (m, own) => own && m.id === own ? "you" : m.name ? inLine(m.name) : String(m.id)

// useMembers keeps the list of a channel's members up to date: what usePages returns, and
// byID. byID.known says that nobody is missing in it.
export function useMembers(channel) {
  const pages = usePages(`channels/${channel}/members`, { field: "members", key: m => m.id, every: 3000 })
  const { items = [], answer, more } = pages, known = Boolean(answer && !more)
  // The list may stand still while somebody points at it; who came is known all the same.
  const byID = useMemo(() => Object.assign(new Map([...items, ...answer?.members ?? []].map(m => [m.id, m])), { known }), [items, answer])
  return { ...pages, byID }
}

export function Members({ channel, members, only }) {
  const [leaving, takeOff] = useState(null), now = useNow(5000), own = use(mine)
  return html`<section class="members" aria-labelledby="members"><header><h2 id="members">Members</h2><span class="hint">${members.answer ? count(members.answer.count) : ""}</span></header>
    <${Paged} of=${members} empty="Nobody is on this channel. Who joins it appears here.">${list => html`<ul class="plain">${list.map(m => html`<li key=${m.id}>
      <button type="button" class="quiet name" title="Show only its messages" onClick=${() => only(m)}><bdi>${nameOf(m, own)}</bdi>${m.name ? html`<small>${m.id}</small>` : null}</button>
      <span class="ways">${m.via.map(w => html`<span><${Via} name=${w.protocol} /> <small>${w.away ? "away, " : ""}${w.since ? span(now - Date.parse(w.since)) : ""}</small></span>`)}${m.gateway ? html`<small>at <bdi>${m.gateway}</bdi></small>` : null}</span>
      ${mayDo("manage") ? html`<button type="button" class="quiet" onClick=${() => takeOff(m)}>Remove from channel</button>` : null}</li>`)}</ul>`}</${Paged}>
    <p class="hint">You only watch: you are not a member.</p>
    ${leaving ? html`<${Confirm} title=${`Remove it from channel ${channel}?`} button="Remove from channel" onClose=${() => takeOff(null)} act=${async () => { await call("DELETE", `channels/${channel}/members/${leaving.id}`); members.reload({ moving: true }) }}>
      <p><strong><bdi>${nameOf(leaving)}</bdi></strong> hears nothing more on channel ${channel}. It may join again.</p></${Confirm}>` : null}
  </section>`
}
