'use strict';
// Shows /openapi.json. Every text is set as text, never as markup.
const element = (name, options, ...children) => {
  const made = document.createElement(name);
  Object.assign(made, options || {});
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
};
let apiKey = '';
const headers = (more) => Object.assign(apiKey ? { 'X-Api-Key': apiKey } : {}, more || {});
const json = (value) => JSON.stringify(value, null, 2);

// A schema with its references filled in, so that it can be read in one place.
const resolved = (root, schema, depth) => {
  if (schema === null || typeof schema !== 'object') return schema;
  if (Array.isArray(schema)) return schema.map((part) => resolved(root, part, depth));
  if (schema.$ref && depth < 6) {
    const target = schema.$ref.slice(2).split('/').reduce((at, part) => at[part], root);
    return resolved(root, target, depth + 1);
  }
  const out = {};
  for (const [name, value] of Object.entries(schema)) out[name] = resolved(root, value, depth);
  return out;
};

// A value that a schema might allow, to begin with.
const example = (schema) => {
  if (!schema || typeof schema !== 'object') return null;
  if (schema.example !== undefined) return schema.example;
  if (schema.const !== undefined) return schema.const;
  if (schema.enum) return schema.enum[0];
  const choice = schema.oneOf || schema.anyOf;
  if (choice) return example(choice[0]);
  const type = Array.isArray(schema.type) ? schema.type[0] : schema.type;
  if (type === 'object' || schema.properties) {
    const out = {};
    for (const [name, value] of Object.entries(schema.properties || {})) out[name] = example(value);
    return out;
  }
  if (type === 'array') return [example(schema.items)];
  if (type === 'integer' || type === 'number') return 0;
  if (type === 'boolean') return false;
  return type === 'null' ? null : '';
};

const trial = (root, path, method, operation) => {
  const inputs = [];
  const rows = (operation.parameters || []).map((parameter) => {
    const input = element('input', { placeholder: parameter.required ? 'required' : '' });
    inputs.push([parameter, input]);
    return element('tr', {},
      element('td', {}, element('code', { textContent: parameter.name }),
        element('div', { className: 'soft', textContent: parameter.in })),
      element('td', { textContent: parameter.description || '' }),
      element('td', {}, input));
  });
  const body = operation.requestBody && operation.requestBody.content['application/json'];
  const schema = body && resolved(root, body.schema, 0);
  const text = body ? element('textarea', { value: json(example(schema)) }) : null;
  const output = element('pre', { hidden: true });
  const send = element('button', { textContent: 'Send' });
  send.onclick = async () => {
    let url = path;
    const query = new URLSearchParams();
    const extra = {};
    for (const [parameter, input] of inputs) {
      if (input.value === '') continue;
      if (parameter.in === 'path') url = url.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
      else if (parameter.in === 'header') extra[parameter.name] = input.value;
      else query.append(parameter.name, input.value);
    }
    if (text) extra['Content-Type'] = 'application/json';
    const asked = query.toString();
    output.hidden = false;
    try {
      const answer = await fetch(url + (asked ? `?${asked}` : ''), {
        method: method.toUpperCase(), headers: headers(extra), body: text ? text.value : undefined,
      });
      const content = await answer.text();
      let shown = content;
      try { shown = json(JSON.parse(content)); } catch { /* not JSON: as it is */ }
      output.textContent = `${answer.status} ${answer.statusText}\n${shown}`;
    } catch (error) {
      output.textContent = String(error);
    }
  };
  return element('div', {},
    rows.length ? element('table', {}, ...rows) : null,
    schema ? element('details', {}, element('summary', { textContent: 'Schema of the body' }),
      element('div', {}, element('pre', { textContent: json(schema) }))) : null,
    text, send, output,
    element('table', {}, ...Object.entries(operation.responses).map(([status, response]) =>
      element('tr', {}, element('td', { textContent: status }),
        element('td', { textContent: response.description })))));
};

const show = (root) => {
  const main = document.getElementById('main');
  main.replaceChildren(
    element('h1', { textContent: `${root.info.title} ${root.info.version}` }),
    element('p', { className: 'soft', textContent: root.info.summary || '' }));
  const groups = new Map();
  for (const [path, item] of Object.entries(root.paths)) {
    for (const [method, operation] of Object.entries(item)) {
      const tag = operation.tags[0];
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push([path, method, operation]);
    }
  }
  for (const [tag, operations] of groups) {
    main.append(element('h2', { textContent: tag }));
    for (const [path, method, operation] of operations) {
      const entry = element('details', {},
        element('summary', {},
          element('span', { className: `method ${method}`, textContent: method }),
          element('code', { textContent: path }),
          element('span', { className: 'soft', textContent: ` ${operation.summary}` })));
      entry.addEventListener('toggle', () => {
        if (entry.open && entry.children.length === 1) entry.append(trial(root, path, method, operation));
      });
      main.append(entry);
    }
  }
};

const load = async () => {
  const answer = await fetch('/openapi.json', { headers: headers() });
  if (answer.ok) { show(await answer.json()); return; }
  const input = element('input', { type: 'password', placeholder: 'API key' });
  const button = element('button', { textContent: 'Sign in' });
  button.onclick = () => { apiKey = input.value; load(); };
  document.getElementById('main').replaceChildren(
    element('p', { textContent: `The document cannot be read: ${answer.status}` }), input, button);
};
load();
