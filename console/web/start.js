import { html } from "./ui.js"

export const Start = ({ of }) => html`<h1>Start</h1><p>${of}</p>`
