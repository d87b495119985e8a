// The page is complete without this script. It folds the images behind a confusion matrix, sorts tables, copies commands.

for (const part of document.querySelectorAll('.confusions')) {
  const links = [...part.querySelectorAll('a[aria-controls]')];
  const galleryOf = link => document.getElementById(link.getAttribute('aria-controls'));
  const show = chosen => {
    for (const link of links) {
      link.setAttribute('aria-expanded', link === chosen);
      galleryOf(link).hidden = link !== chosen;
    }
  };
  for (const link of links) {
    link.addEventListener('click', event => {
      event.preventDefault();
      show(link);
      galleryOf(link).scrollIntoView({block: 'nearest'});
    });
  }
  const first = part.querySelector('.cell');
  show(links.find(link => galleryOf(link) === first));
}

const valueOf = cell => {
  const number = parseFloat(cell.textContent.replaceAll(',', ''));
  return cell.matches('.text, [scope=row]') ? cell.textContent : number;
};
const compare = (a, b) => {
  if (typeof a === 'string') return a.localeCompare(b, undefined, {numeric: true});
  return a - b;
};
for (const table of document.querySelectorAll('table.sortable')) {
  const headers = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  headers.forEach((header, column) => {
    const button = document.createElement('button');
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener('click', () => {
      const sign = header.getAttribute('aria-sort') === 'ascending' ? -1 : 1;
      for (const other of headers) other.removeAttribute('aria-sort');
      header.setAttribute('aria-sort', sign > 0 ? 'ascending' : 'descending');
      const rows = [...body.rows].map(row => [valueOf(row.cells[column]), row]);
      const known = rows.filter(([value]) => !Number.isNaN(value)).sort(([a], [b]) => sign * compare(a, b));
      const unknown = rows.filter(([value]) => Number.isNaN(value));
      body.append(...[...known, ...unknown].map(([, row]) => row));
    });
  });
}

for (const text of document.querySelectorAll('pre.command')) {
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'copy';
  button.textContent = 'Copy';
  button.addEventListener('click', async () => {
    getSelection().selectAllChildren(text);
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = 'Copied';
    } catch {
      button.textContent = 'Selected: press Ctrl+C';
    }
  });
  text.after(button);
}

addEventListener('beforeprint', () => document.querySelectorAll('details').forEach(one => { one.open = true; }));
