// A photograph under noise, on a canvas: what the widgets that dissolve one have in common.

// The bytes of a text in base64.
function bytes(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

// Standard normal numbers, the same for the same seed everywhere: Marsaglia's xorshift with 32 bits, Box and Muller.
function noise(seed, count) {
  let state = Math.imul(seed + 1, 0x9e3779b1); // 0, which would stay 0, comes from no seed below 2^32 - 1
  const uniform = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return ((state >>> 0) + 0.5) / 4294967296;
  };
  const normal = () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
  return Float64Array.from({ length: count }, normal);
}

// Levels of x_t = sqrt(ab) x_0 + sqrt(1 - ab) noise, x_0 and x_t in [-1, 1]: DDPM (Ho et al. 2020), Eq. 4.
function noisy(levels, drawn, ab) {
  return Uint8ClampedArray.from(levels, (level, i) => {
    const x = Math.sqrt(ab) * (level / 127.5 - 1) + Math.sqrt(1 - ab) * drawn[i];
    return (x + 1) * 127.5; // the array itself rounds, and cuts off what is beyond black and white
  });
}

// A canvas of size x size pixels.
function pixels(size) {
  return element("canvas", { class: "ddpm-pixels", width: size, height: size, role: "img" });
}

// Levels onto it, row by row: one a pixel is grey, three are red, green and blue.
function paint(canvas, levels) {
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  const channels = levels.length / (canvas.width * canvas.height);
  for (let i = 0; i < canvas.width * canvas.height; i += 1) {
    for (let c = 0; c < 3; c += 1) image.data[4 * i + c] = levels[channels * i + (c % channels)];
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}
