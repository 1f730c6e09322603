// Texts, edges of fields and bars whose contrast is below WCAG's AA, in words; looks at what `selector` names.
(selector) => {
  const pixel = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const read = (css) => { // whatever CSS can say, as [red, green, blue, alpha]
    pixel.canvas.width = 1;
    pixel.fillStyle = css;
    pixel.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = pixel.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => below.map((value, index) => index < 3 ? top[index] * top[3] + value * (1 - top[3]) : 1);
  const ground = (node) => {
    if (!node) return [255, 255, 255, 1];
    const own = read(getComputedStyle(node).backgroundColor);
    return own[3] === 1 ? own : over(own, ground(node.parentElement));
  };
  const opacity = (node) => node ? Number(getComputedStyle(node).opacity) * opacity(node.parentElement) : 1;
  const light = (colour) => {
    const linear = (value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = colour.map((value) => linear(value / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (css, node, below) => {
    const [r, g, b, a] = read(css);
    const pair = [light(over([r, g, b, a * opacity(node)], below)), light(below)].sort((one, other) => other - one);
    return (pair[0] + 0.05) / (pair[1] + 0.05);
  };
  const seen = (node) => node.checkVisibility({ visibilityProperty: true }) && node.getClientRects()[0]?.width > 1;
  const told = (node) => `${node.tagName.toLowerCase()}.${node.className.baseVal ?? node.className}`;
  const found = [];
  const check = (node, what, css, below, least) => {
    const measured = ratio(css, node, below);
    const text = JSON.stringify(node.textContent.trim().slice(0, 40));
    if (measured < least) found.push(`${measured.toFixed(2)} < ${least}: ${what} of ${told(node)} ${text}`);
  };
  for (const node of document.querySelectorAll(selector)) {
    if (!seen(node) || node.disabled) continue;
    const style = getComputedStyle(node);
    const size = parseFloat(style.fontSize), bold = Number(style.fontWeight) >= 700;
    const large = size >= 24 || (size >= 18.66 && bold);
    const text = [...node.childNodes].some((child) => child.nodeType === Node.TEXT_NODE && child.data.trim());
    const icon = node.matches(".material-symbols-outlined");
    const field = node.matches("input:not([type=range], [type=checkbox], [type=radio]), select, textarea");
    if (text || (field && node.value)) check(node, "text", style.color, ground(node), large || icon ? 3 : 4.5);
    if (field) {
      // A field without an edge of its own stands in a frame that has one.
      const frame = parseFloat(style.borderTopWidth) ? node : node.parentElement;
      check(node, "edge", getComputedStyle(frame).borderTopColor, ground(frame.parentElement), 3);
      const hint = getComputedStyle(node, "::placeholder").color;
      if (node.placeholder) check(node, "placeholder", hint, ground(node), 4.5);
    }
    if (node.matches(".run-fill")) check(node, "bar", style.fill, ground(node.closest(".run-progress, .run-bar")), 3);
  }
  return [...new Set(found)];
}
