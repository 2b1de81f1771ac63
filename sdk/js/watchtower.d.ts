/** A message as it was heard. */
export interface Message {
  /** Unique; good for `since`. */
  id: string
  /** When the gateway took it: RFC 3339, UTC, with milliseconds. */
  time: string
  type: "broadcast" | "send"
  channel: number
  /** The sender's id. */
  sender: number
  /** The sender's name, if it has one. */
  name?: string
  /** Text as a string, JSON as its value, and bytes that are not UTF-8 as a Uint8Array. */
  message: unknown
  /** The ids of all who said it, on a channel that wants more than one to say the same. */
  confirmed_by?: number[]
}

/** How many have said a message that is delivered only once more say the same. */
export interface Confirm {
  channel: number
  /** How many have said it; 0: it is forgotten. */
  confirmed: number
  of: number
  /** Until when the others have time: RFC 3339. */
  until?: string
  /** Why it is forgotten. */
  reason?: "expired" | "reload" | "restart"
}

/** What broadcast and send take: bytes as they are, a string as text, all else as JSON. */
export type Content = ArrayBuffer | ArrayBufferView | string | number | boolean | null | object

/** Why a call failed, or a join ended. */
export interface WatchtowerError extends Error {
  name: "WatchtowerError"
  /** The status of HTTP; 0: there was no answer. */
  status: number
  /**
   * What is wrong, for programs: `urn:watchtower:problem:…` as the gateway says it, or
   * `network` (no answer), `origin` (the gateway does not answer this page), `no-gateway`
   * (the answer is another server's, such as a proxy's), `left`, `closed`.
   */
  type: string
  /** What is wrong, for people, and the way out. The same as `message`. */
  detail: string
  /** The field at fault. */
  field?: string
  /** How long to wait before another attempt, in seconds, if the gateway said it. */
  retryAfter?: number
}

/** What `onstate` is told about one join. */
export interface State {
  /**
   * open: it hears. reconnecting: the connection was lost, and it tries again by itself.
   * closed: for good, by leave, by close, or because the gateway refuses it.
   */
  state: "open" | "reconnecting" | "closed"
  /** The channels of the join. */
  channels: number[]
  /** Why it is not open, for people. */
  reason?: string
  error?: WatchtowerError
  /** Seconds until the next attempt. */
  wait?: number
}

export interface Report {
  id: string
  /** To how many receivers it was offered, by protocol. Absent if that took too long. */
  offered?: Record<string, number>
  /** How many of them lost it, by protocol. */
  dropped?: Record<string, number>
}

export interface Members {
  /** All members. */
  count: number
  /** At most 256 of them. */
  members: { id: number; name?: string; via: string }[]
}

export interface JoinOptions {
  /** Hear earlier messages first: those after a message's id, of an age such as "10m", or "all". */
  since?: string
  /** Whether to hear one's own broadcasts; the default is true. */
  echo?: boolean
  /** Is told that messages of a channel are missing: more was said than the gateway keeps. */
  onGap?: (channel: number) => void
  /** Is told of messages on a channel that wait for more to say the same. */
  onConfirm?: (c: Confirm) => void
}

export interface Watchtower {
  /** The sender's id. */
  readonly id: number
  /** The sender's name, if it has one. */
  readonly name?: string
  /** The gateway's address. */
  readonly url: string
  /** Is called at each change of a join's state. */
  onstate: ((state: State) => void) | null
  /**
   * Joins channels, and calls onMessage for each message there, once and in order, over lost
   * connections too. It resolves once it hears. While the gateway does not answer it goes on
   * trying; it rejects if the gateway refuses, or after leave or close.
   */
  join(channels: number[], onMessage: (m: Message) => void, options?: JoinOptions): Promise<void>
  /**
   * Says something to all members of channels that this sender has joined. ttl is in seconds. On a
   * channel that wants more to say the same it resolves with confirmed in place of id, and nobody
   * has heard it yet.
   */
  broadcast(channels: number[], message: Content, options?: { ttl?: number }): Promise<{ id: string; confirmed?: undefined } | { id?: undefined; confirmed: number; of: number; until: string }>
  /** Says something to some members, named by id or name. Resolves with the delivery report. */
  send(channels: number[], receivers: (number | string)[], message: Content, options?: { ttl?: number }): Promise<Report>
  /** Who is on a channel. It needs the sender's own token, not a short one. */
  members(channel: number): Promise<Members>
  /** Leaves channels. A join that has none left ends. */
  leave(channels: number[]): Promise<void>
  /** Ends all joins and calls. The sender stays a member for 30 seconds (http.linger). */
  close(): void
}

/**
 * Connects to a gateway. With `key`, the gateway's secret key, it registers as a new sender,
 * or as the one with `name`; an open gateway needs no key. With `token` it speaks as the
 * token's sender. A token from POST /tokens (`wtp_…`) is what a page should have. The address
 * may have a path, for a gateway behind a proxy. Rejects with a WatchtowerError.
 */
export function connect(url: string | URL, options?: { key?: string; token?: string; name?: string }): Promise<Watchtower>
