// An MQTT client for tests: the mqtt package, driven by lines.
//
//   node client.js OPTIONS FILTER...
//
// OPTIONS is JSON: url, clientId, password, clean, version (4 or 5), ca (a file).
// On standard output, a line each:
//   connected SESSION_PRESENT
//   subscribed
//   message TOPIC QOS DUP RETAIN HEX
//   acked TOKEN
// On standard input: publish TOKEN TOPIC QOS RETAIN HEX
'use strict'
const fs = require('fs')
const readline = require('readline')
const mqtt = require('mqtt')

const options = JSON.parse(process.argv[2])
const filters = process.argv.slice(3)
const client = mqtt.connect(options.url, {
  clientId: options.clientId,
  username: options.username || 'node',
  password: options.password,
  clean: options.clean,
  protocolVersion: options.version || 5,
  properties: options.clean ? {} : { sessionExpiryInterval: 3600 },
  ca: options.ca ? fs.readFileSync(options.ca) : undefined,
  reconnectPeriod: 50,
  connectTimeout: 5000,
  keepalive: 10,
})
const say = (...words) => process.stdout.write(words.join(' ') + '\n')

client.on('connect', (ack) => {
  say('connected', ack.sessionPresent ? 1 : 0)
  if (ack.sessionPresent || filters.length === 0) return
  client.subscribe(filters, { qos: 1 }, (err) => { if (!err) say('subscribed') })
})
client.on('message', (topic, payload, packet) => {
  say('message', topic, packet.qos, packet.dup ? 1 : 0, packet.retain ? 1 : 0, payload.toString('hex'))
})
client.on('error', (err) => {
  if (!['ECONNREFUSED', 'ECONNRESET', 'EPIPE'].includes(err.code)) process.stderr.write(err.message + '\n')
})

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const [, token, topic, qos, retain, hex] = line.split(' ')
  const payload = Buffer.from(hex || '', 'hex')
  client.publish(topic, payload, { qos: Number(qos), retain: retain === '1' }, (err) => { if (!err) say('acked', token) })
}).on('close', () => client.end(true, {}, () => process.exit(0)))
