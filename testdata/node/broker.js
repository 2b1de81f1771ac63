// A broker that speaks MQTT 3.1.1 and nothing newer: the aedes package.
//
//   node broker.js HOST PORT
'use strict'
const aedes = require('aedes')()
require('net').createServer(aedes.handle).listen(Number(process.argv[3]), process.argv[2])
