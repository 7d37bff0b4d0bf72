"use strict";
const data = JSON.parse(document.getElementById("report-data").textContent);
const wants = window.matchMedia("(prefers-color-scheme: dark)");
const mode = () => document.documentElement.dataset.mode || (wants.matches ? "dark" : "light");

async function draw() {
  for (const place of document.querySelectorAll("[data-figure]")) {
    const spec = structuredClone(data.figures[place.dataset.figure]);
    if (typeof spec.width === "number") {
      spec.width = "container";
      spec.autosize = { type: "fit-x", contains: "padding" };
    }
    // Panels do not shrink with the page by themselves; 96 pixels are for their axes.
    const columns = spec.vconcat?.[0].hconcat?.length;
    for (const part of spec.vconcat ?? []) {
      if (typeof part.width === "number") part.width = place.clientWidth - 96;
      for (const panel of part.hconcat ?? [])
        panel.width = Math.max(110, Math.min(360, (place.clientWidth - 24 * (columns - 1)) / columns - 56));
    }
    const padding = { left: 4, top: 4, bottom: 4, right: 4 + data.room[place.dataset.figure] };
    const config = { ...data.config[mode()], padding };
    await vegaEmbed(place, spec, { config, actions: false, renderer: "svg" });
  }
  document.body.dataset.drawn = mode();
}

function sortBy(table, column) {
  const heads = [...table.tHead.rows[0].cells];
  const rising = heads[column].getAttribute("aria-sort") !== "ascending";
  heads.forEach((head) => head.removeAttribute("aria-sort"));
  heads[column].setAttribute("aria-sort", rising ? "ascending" : "descending");
  const key = (row) => row.cells[column].dataset.value ?? null;
  const rows = [...table.tBodies[0].rows];
  rows.sort((one, other) => {
    const [a, b] = [key(one), key(other)];
    if (a !== null && b !== null) return rising ? a - b : b - a;
    if (a !== null || b !== null) return a === null ? 1 : -1;
    const [s, t] = [one.cells[column].textContent, other.cells[column].textContent];
    return rising ? s.localeCompare(t) : t.localeCompare(s);
  });
  table.tBodies[0].append(...rows);
}

function showTrial(name) {
  const trial = data.trials[name];
  if (!trial) return;
  document.getElementById("details-name").textContent = `trial ${name.split(":")[1]}`;
  document.getElementById("details-config").textContent = trial.config;
  document.getElementById("details-export").textContent = trial.export;
  document.getElementById("details").showModal();
}

for (const table of document.querySelectorAll("table.sortable"))
  [...table.tHead.rows[0].cells].forEach((head, column) => head.addEventListener("click", () => sortBy(table, column)));
for (const row of document.querySelectorAll("tr[data-trial]")) {
  row.addEventListener("click", () => showTrial(row.dataset.trial));
  row.addEventListener("keydown", (event) => event.key === "Enter" && showTrial(row.dataset.trial));
}
document.getElementById("mode").addEventListener("click", () => {
  document.documentElement.dataset.mode = mode() === "dark" ? "light" : "dark";
  draw();
});
wants.addEventListener("change", draw);
draw();
