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
    const last = (body) => Number(body.rows[0].classList.contains("soft") && !table.closest("details"));
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
        bodies.sort((a, b) => last(a) - last(b)
          || sign * compare(a.rows[0].cells[column], b.rows[0].cells[column]));
        table.tHead.after(...bodies);
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
