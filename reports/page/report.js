// What a reader may do with the page; without it everything still reads. It asks nobody for anything.
"use strict";
for (const heading of document.querySelectorAll("h2, h3[id]")) {
  const id = heading.id || heading.closest("section")?.id;
  if (!id) continue;
  const link = document.createElement("a");
  link.className = "permalink";
  link.href = "#" + id;
  link.textContent = "#";
  link.setAttribute("aria-label", "link to " + heading.textContent.trim());
  heading.append(" ", link);
}
for (const block of document.querySelectorAll("pre.command")) {
  const button = document.createElement("button");
  const words = block.textContent;
  button.className = "copy";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(words);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(block);
      button.textContent = "Selected: press Ctrl-C";
    }
  });
  block.before(button);
}
const timeline = document.querySelector("table.timeline");
if (timeline) {
  const label = document.createElement("label");
  const field = document.createElement("input");
  field.type = "search";
  field.placeholder = "a client, a server, a value";
  field.size = field.placeholder.length;
  label.className = "filter";
  label.append("Show only rows with ", field);
  field.addEventListener("input", () => {
    const wanted = field.value.trim().toLowerCase();
    for (const row of timeline.tBodies[0].rows) row.hidden = wanted !== "" && !row.textContent.toLowerCase().includes(wanted);
  });
  timeline.parentElement.before(label);
}
const data = document.getElementById("bins");
const chart = document.querySelector("#time svg");
if (data && chart) {
  const bins = JSON.parse(data.textContent);
  const told = document.createElement("p");
  told.className = "readout";
  told.setAttribute("aria-live", "off");
  told.textContent = "Point at the chart for its values.";
  chart.closest("figure").prepend(told);
  chart.addEventListener("pointermove", (event) => {
    const plot = chart.querySelector("path.background").getBoundingClientRect();
    const at = bins.began + ((event.clientX - plot.left) / plot.width) * (bins.ended - bins.began);
    const row = bins.rows[Math.floor((at - bins.began) / bins.width)];
    if (!row || at < bins.began) return;
    const clock = `${Math.floor(at / 60)}:${(at % 60).toFixed(1).padStart(4, "0")}`;
    const late = row[3] === null ? "nothing answered" : `median ${row[3]} ms, p99 ${row[4]} ms`;
    told.textContent = `${clock}: ok ${row[0]}/s, failed ${row[1]}/s, no answer ${row[2]}/s; ${late}`;
  });
}
for (const fault of document.querySelectorAll("svg.strip a")) {
  const open = () => document.querySelector(fault.getAttribute("href"))?.closest("details")?.setAttribute("open", "");
  fault.addEventListener("click", open);
}
