// A stream's client for tests: an EventSource or a WebSocket of npm, or fetch.
//
//   node stream.js sse|ws|fetch URL
//
// On standard output, a line each: open, closed CODE REASON, or what came as it came.
// On standard input, on a WebSocket: what to send.
'use strict'
const readline = require('readline')
const [kind, url] = process.argv.slice(2)
const say = (text) => process.stdout.write(text + '\n')

if (kind === 'fetch') {
  fetch(url).then(async (response) => {
    say('open')
    const decoder = new TextDecoder()
    for await (const chunk of response.body) process.stdout.write(decoder.decode(chunk, { stream: true }))
    say('closed end')
  }).catch(() => say('closed cut')).finally(() => process.exit(0))
} else if (kind === 'sse') {
  const { EventSource } = require('eventsource')
  const source = new EventSource(url)
  source.onopen = () => say('open')
  source.onmessage = (event) => say(event.data)
  source.onerror = (event) => say(`closed ${event.code ?? 0} ${source.readyState === 2 ? 'for good' : 'for now'}`)
  process.stdin.resume().on('end', () => process.exit(0))
} else {
  const WebSocket = require('ws')
  const socket = new WebSocket(url)
  socket.on('open', () => say('open'))
  socket.on('message', (data) => say(data.toString()))
  socket.on('close', (code, reason) => { say(`closed ${code} ${reason}`); process.exit(0) })
  socket.on('error', () => {})
  readline.createInterface({ input: process.stdin }).on('line', (line) => socket.send(line)).on('close', () => socket.close(1000))
}
