// Search, sort and pages for the tables. Without it the page shows the first rows of each.
"use strict";

(() => {
  const PAGE = 50;
  const numbers = { count: new Intl.NumberFormat("en"), decimal: new Intl.NumberFormat("en", {
    minimumFractionDigits: 2, maximumFractionDigits: 2 }) };
  const texts = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

  // as a person types it: without case and accents
  const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();

  const element = (name, classes, text) => {
    const made = document.createElement(name);
    if (classes) made.className = classes;
    if (text !== undefined) made.textContent = text;
    return made;
  };

  const fill = (cell, value, kind) => {
    if (kind === "name") {
      const cut = value.lastIndexOf("/") + 1;
      cell.append(element("span", "folder", value.slice(0, cut)),
        element("span", "file", value.slice(cut)));
    } else if (kind === "code") {
      cell.append(element("code", "", value));
    } else if (value !== null) {
      cell.textContent = numbers[kind] ? numbers[kind].format(value) : value;
    }
    return cell;
  };

  const compare = (one, two) => {
    if (one === null || two === null) return (one === null) - (two === null);
    return typeof one === "number" ? one - two : texts.compare(one, two);
  };

  function revive(box, { columns, rows }) {
    const [body, search, told] = ["tbody", "input", "output"].map((name) => box.querySelector(name));
    const [back, next] = box.querySelectorAll(".pages button");
    const heads = [...box.querySelectorAll("thead th")];
    let found = rows.map((_, index) => index);
    let sorted = { column: -1, descending: false };
    let start = 0;
    let words; // of each row, made when first searched

    function show() {
      const page = found.slice(start, start + PAGE);
      body.replaceChildren(...page.map((index) => {
        const row = element("tr");
        row.append(...columns.map(({ kind, label }, place) => {
          const cell = fill(element("td", kind), rows[index][place], kind);
          cell.dataset.label = label;
          return cell;
        }));
        return row;
      }));
      const range = page.length ? `${start + 1}–${start + page.length} of ` : "";
      told.textContent = range + numbers.count.format(found.length);
      back.disabled = start === 0;
      next.disabled = start + PAGE >= found.length;
      box.querySelector(".pages").hidden = found.length <= PAGE;
    }

    function select() {
      const wanted = plain(search.value).split(/\s+/).filter(Boolean);
      words ??= rows.map((row) => plain(row.filter((cell) => typeof cell === "string").join("\n")));
      found = rows.map((_, index) => index)
        .filter((index) => wanted.every((word) => words[index].includes(word)));
      const { column, descending } = sorted;
      if (column >= 0) {
        found.sort((one, two) => compare(rows[one][column], rows[two][column]) || one - two);
        if (descending) found.reverse();
      }
      start = 0;
      show();
    }

    heads.forEach((head, column) => {
      const button = element("button", "", head.textContent);
      button.type = "button";
      button.addEventListener("click", () => {
        sorted = { column, descending: sorted.column === column && !sorted.descending };
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", sorted.descending ? "descending" : "ascending");
        select();
      });
      head.replaceChildren(button);
    });
    search.addEventListener("input", select);
    back.addEventListener("click", () => { start -= PAGE; show(); });
    next.addEventListener("click", () => { start += PAGE; show(); });
    box.querySelector(".tools").hidden = rows.length <= 5;
    show();
  }

  const tables = JSON.parse(document.getElementById("tables").textContent);
  for (const box of document.querySelectorAll(".table")) revive(box, tables[box.id]);
})();
