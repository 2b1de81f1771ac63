// What several screens show of the gateway: what it says of itself, and its rates.
import { store, useEffect, useEvery } from "./ui.js"
import { call } from "./session.js"
import { follow, link, silent } from "./live.js"

// gateway is the answer of GET operator/gateway; null: not yet.
export const gateway = store(null)

export async function askGateway() {
  try {
    gateway.set(await call("GET", "gateway"))
  } catch (e) {
    if (e.status === 0) silent() // a network that fails without a sign
  }
}

// channelName is a channel's name, or "".
export const channelName = channel => gateway.get()?.channels?.[channel] ?? ""

// rates are the samples of the last five minutes, as GET operator/rates answers; null: not yet.
export const rates = store(null)
const kept = 150 // samples

// useRates keeps rates up to date while a component is shown.
export function useRates() {
  // What was lost before the span is not recent any more: all is asked for again.
  const load = async () => {
    try {
      rates.set(await call("GET", "rates", { query: { span: "5m" } }))
    } catch { /* it is asked again when the connection is back */ }
  }
  useEvery(20000, load)
  useEffect(() => {
    const unfollow = follow("rates", sample => rates.get() && rates.set(append(rates.get(), sample)))
    const unheard = link.follow(l => l.state === "open" && load())
    return () => {
      unfollow()
      unheard()
    }
  }, [])
}

// append returns rates with one more sample.
function append(all, sample) {
  const lists = (old, more) => {
    const joined = {}
    for (const name of new Set([...Object.keys(old), ...Object.keys(more)])) {
      const before = old[name] ?? []
      joined[name] = [...before, ...(more[name] ?? [])].slice(-kept)
    }
    return joined
  }
  const next = { ...all, in: lists(all.in, sample.in), out: lists(all.out, sample.out), joined: lists(all.joined, sample.joined), delay: lists(all.delay, sample.delay) }
  next.waiting = [...all.waiting, ...sample.waiting].slice(-kept)
  next.drops = drops(all.drops, sample.drops)
  next.at = Date.now()
  return next
}

// drops adds what a sample says was lost: its "recent" is of two seconds.
function drops(before, now) {
  const all = new Map(before.map(d => [d.via + d.reason, d]))
  for (const d of now) {
    const old = all.get(d.via + d.reason)
    all.set(d.via + d.reason, { ...d, recent: (old?.recent ?? 0) + d.total - (old?.total ?? d.total - d.recent) })
  }
  return [...all.values()]
}
