// Numbers, times, and reasons in words.
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 })
const tenths = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 })

export const count = n => whole.format(n)
export const rate = n => n === 0 ? "0" : n < 0.05 ? "< 0.1" : n < 9.95 ? tenths.format(n) : whole.format(n)
export const many = (n, one, more = one + "s") => `${count(n)} ${n === 1 ? one : more}`

export function bytes(n) {
  if (n < 1000) return many(n, "byte")
  const units = ["kB", "MB", "GB"]
  let i = -1
  do n /= 1000; while (++i < units.length - 1 && n >= 999.5)
  return `${n < 9.95 ? tenths.format(n) : whole.format(n)} ${units[i]}`
}

// span says how long milliseconds are, in its two largest units.
export function span(ms) {
  const s = Math.max(0, Math.round(ms / 1000))
  if (s < 60) return `${s} s`
  const m = Math.floor(s / 60), h = Math.floor(m / 60), d = Math.floor(h / 24)
  if (m < 60) return `${m} min`
  if (h < 24) return m % 60 ? `${h} h ${m % 60} min` : `${h} h`
  return h % 24 && d < 10 ? `${many(d, "day")} ${h % 24} h` : many(d, "day")
}
export const ago = (time, now = Date.now()) => now - Date.parse(time) < 1500 ? "just now" : `${span(now - Date.parse(time))} ago`

const pad = (n, digits = 2) => String(n).padStart(digits, "0")
export const clock = t => `${pad(t.getHours())}:${pad(t.getMinutes())}:${pad(t.getSeconds())}`
export const toMillisecond = t => `${clock(t)}.${pad(t.getMilliseconds(), 3)}`

// Why something was not delivered: what it is called, what to do, and how bad it is.
// 3: somebody missed a message; 2: look at it; 1: usual.
const reasons = {
  link_full: ["The gateway fell behind", "A whole protocol was full. If it goes on, more is said than this machine can carry.", 3],
  queue_full: ["A receiver read too slowly", "Its own queue was full (limits in Settings). Nobody else was delayed.", 3],
  failed: ["It was never acknowledged", "A device or a callback did not take it in any attempt. Look at Devices for one that is away, and at Callbacks.", 3],
  limit: ["A limit was reached", "The log names the setting that says how much is allowed.", 3],
  unsendable: ["The system could not send it", "The network is down, the receiver is not on it, or a firewall is in the way.", 3],
  too_large: ["Too large for its receiver", "A datagram carries about a kilobyte. Say less at a time, or use TCP, MQTT or HTTP.", 3],
  truncated: ["Cut short for a device", "The device said that its buffer is smaller than the message.", 3],
  forged: ["A wrong signature", "A device has another key, or somebody guesses.", 2],
  refused: ["Not allowed", "A client published where its access list does not let it.", 2],
  malformed: ["Not understood", "It is no frame or packet of the protocol, or a description has a fault. The log says which.", 2],
  elsewhere: ["From another address", "A frame came from where its session is not.", 2],
  unknown: ["For a session that is gone", "The device has not noticed yet; it registers again by itself.", 2],
  forgotten: ["A registration was not finished", "It made room for newer ones.", 2],
  expired: ["Too old", "It waited longer than the time to live that its sender gave it.", 1],
  away: ["The receiver was away", "Its stream had ended for a moment, or its MQTT session waits for it and keeps only messages at QoS 1 and 2.", 1],
  disconnected: ["The receiver left", "It went with messages still waiting for it.", 1],
  duplicate: ["It came twice", "The gateway had it already. Usual over radio.", 1],
}
export const reason = name => {
  const [title, advice, degree] = reasons[name] ?? [name.replaceAll("_", " "), "", 2]
  return { title, advice, degree }
}
