// Names as text and back: every byte is kept, and no two names become one.

import Storage
import TestSupport
import Testing

@Suite(.tags(.fast)) struct ByteTextTests {
  @Test("random bytes come back, and different bytes are different texts")
  func roundTrip() {
    var random = SplitMix64(seed: 1)
    // Bytes of which broken and whole sequences are made, those of the stand-ins among them.
    let alphabet: [UInt8] = [
      0x00, 0x2f, 0x41, 0x80, 0x8f, 0x90, 0xa0, 0xbe, 0xbf, 0xc0, 0xc3, 0xe2, 0xed, 0xf0, 0xf4, 0xf5, 0xff,
    ]
    var texts: [[UInt8]: [UInt8]] = [:]
    for _ in 0..<5_000 {
      let bytes = (0..<Int(1 + random.below(8))).map { _ in
        random.below(20) == 0
          ? UInt8(random.below(256)) : alphabet[Int(random.below(UInt64(alphabet.count)))]
      }
      let text = ByteText.text(bytes)
      #expect(ByteText.bytes(text) == bytes)
      let other = texts.updateValue(bytes, forKey: Array(text.utf8))
      #expect(other == nil || other == bytes)
    }
  }

  @Test("text stays text, and what looks like a stand-in is kept by its bytes")
  func forms() {
    #expect(ByteText.text(Array("straße/漢 😀.img".utf8)) == "straße/漢 😀.img")
    #expect(ByteText.text([0x63, 0xe9]).unicodeScalars.map(\.value) == [0x63, 0x10ffe9])
    // U+10FFE9 itself, as UTF-8.
    #expect(
      ByteText.text([0xf4, 0x8f, 0xbf, 0xa9]).unicodeScalars.map(\.value)
        == [0x10fff4, 0x10ff8f, 0x10ffbf, 0x10ffa9])
    #expect(!ByteText.areSame("\u{e9}", "e\u{301}"))
    #expect(ByteText.folder(of: "a/\u{301}b") == "a/" && ByteText.lastPart(of: "a/\u{301}b") == "\u{301}b")
    #expect(ByteText.folder(of: "a") == "" && ByteText.folder(of: "/a") == "/")
    #expect(
      ByteText.lines(Array("a\r\nb\n\u{301}".utf8)).map { Array($0.utf8) } == [
        [0x61, 0x0d], [0x62], [0xcc, 0x81],
      ])
  }
}
