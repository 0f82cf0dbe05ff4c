"use strict";
{
  const exact = (cell) => cell?.querySelector("data")?.value ?? "";
  const words = (cell) => cell?.textContent.trim() ?? "";
  const compare = (a, b) => {
    if (exact(a) && exact(b)) return Number(exact(a)) - Number(exact(b));
    if (exact(a) || exact(b)) return exact(a) ? 1 : -1;
    return words(a).localeCompare(words(b), "en", { numeric: true });
  };
  for (const table of document.querySelectorAll("table.sorts")) {
    const bodies = [...table.tBodies];
    const isOfDays = table.closest("details");
    const last = (row) => Number(!isOfDays && row.classList.contains("soft"));
    const headers = [...table.tHead.rows[0].cells];
    headers.forEach((header, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      header.append(button);
      button.addEventListener("click", () => {
        const isDown = header.getAttribute("aria-sort") === (column ? "descending" : "ascending");
        const isUp = column ? isDown : !isDown;
        headers.forEach((each) => each.removeAttribute("aria-sort"));
        header.setAttribute("aria-sort", isUp ? "ascending" : "descending");
        const sign = isUp ? 1 : -1;
        const order = (a, b) => last(a) - last(b)
          || sign * compare(a.cells[column], b.cells[column]);
        bodies.sort((a, b) => order(a.rows[0], b.rows[0]));
        table.tHead.after(...bodies);
        for (const body of bodies) body.append(...[...body.rows].slice(1).sort(order));
      });
    });
    if (!table.classList.contains("searched")) continue;
    const label = document.createElement("label"), input = document.createElement("input");
    const found = document.createElement("output");
    input.type = "search";
    label.className = "search";
    label.append("Search", found, input);
    table.closest("section").querySelector(".head").append(label);
    input.addEventListener("input", () => {
      const wanted = input.value.trim().toLowerCase();
      let count = 0;
      for (const body of bodies) {
        const names = [...body.rows].map((row) => words(row.cells[0]).toLowerCase());
        body.hidden = !names.some((name) => name.includes(wanted));
        count += Number(!body.hidden);
      }
      found.value = wanted ? `${count} of ${bodies.length}` : "";
    });
  }
}
