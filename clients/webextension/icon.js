// The status as a shape and a colour: the shape alone tells it, too.

const COLOURS = { open: "#0b6b4c", closed: "#a1322a", away: "#8a5200", unknown: "#585c63" };

/** Draw the icon of a status, `size` pixels wide and high. */
export function draw(value, size) {
  const canvas = new OffscreenCanvas(size, size);
  const pen = canvas.getContext("2d");
  const unit = size / 32;
  pen.scale(unit, unit);
  pen.beginPath();
  if (value === "open") pen.arc(16, 16, 13, 0, 2 * Math.PI);
  else if (value === "closed") pen.rect(4, 4, 24, 24);
  else if (value === "away") {
    pen.moveTo(16, 2);
    pen.lineTo(31, 29);
    pen.lineTo(1, 29);
    pen.closePath();
  } else pen.roundRect(2, 2, 28, 28, 6);
  pen.fillStyle = COLOURS[value];
  pen.fill();
  // A light rim, so that it stands out from dark toolbars as well.
  pen.strokeStyle = "#fff";
  pen.lineWidth = 2;
  pen.stroke();
  if (value === "unknown") {
    pen.fillStyle = "#fff";
    pen.font = "bold 24px sans-serif";
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.fillText("?", 16, 17);
  }
  return pen.getImageData(0, 0, size, size);
}
