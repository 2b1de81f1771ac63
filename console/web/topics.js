import { html } from "./ui.js"

export const Topics = ({ of }) => html`<h1>Topics</h1><p>${of}</p>`
