// Does what the tests say, and keeps what it heard.
(async () => {
	const sdk = await import("/watchtower.js")
	const events = [], plain = e => ({ ...e, type: e.type ?? e.name, detail: e.message })
	const out = v => v instanceof Uint8Array ? { bytes: btoa(String.fromCharCode(...v)) } : v
	const into = v => v?.bytes ? Uint8Array.from(atob(v.bytes), c => c.charCodeAt()) : v
	let w
	const driver = {
		connect: async ({ url, ...options }) => {
			w = await sdk.connect(url, options)
			w.onstate = s => events.push({ event: "state", ...s, error: s.error ? plain(s.error) : null })
			return { id: w.id, name: w.name }
		},
		join: ({ channels, ...options }) => w.join(channels, m => {
			events.push({ event: "message", id: m.id, kind: m.type, channel: m.channel, sender: m.sender, name: m.name ?? "", message: out(m.message), by: m.confirmed_by ?? [] })
		}, { ...options, onGap: channel => events.push({ event: "gap", channel }), onConfirm: c => events.push({ event: "confirm", ...c }) }),
		broadcast: ({ channels, message, ttl }) => w.broadcast(channels, into(message), { ttl }),
		send: ({ channels, receivers, message }) => w.send(channels, receivers, into(message)),
		members: ({ channel }) => w.members(channel),
		leave: ({ channels }) => w.leave(channels),
		close: async () => w.close(),
	}
	window.drive = (op, args) => driver[op](args).then(ok => JSON.stringify({ ok: ok ?? null }), e => JSON.stringify({ error: plain(e) }))
	window.told = from => JSON.stringify(events.slice(from))
	return true
})()
