import { html } from "./ui.js"

export const Settings = ({ of }) => html`<h1>Settings</h1><p>${of}</p>`
