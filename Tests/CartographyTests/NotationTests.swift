// Numbers as text, both ways.

import Cartography
import TestSupport
import Testing

@Suite(.tags(.fast)) struct NotationTests {
  @Test(arguments: [
    ("0", 0), ("512", 512), ("512b", 512), ("64k", 65536), ("64K", 65536), ("1M", 1 << 20), ("1.5G", 3 << 29),
    ("0x10000", 65536), ("0XFFk", 255 << 10), ("2T", 2 << 40), ("1p", 1 << 50), ("7E", 7 << 60),
    ("0.1k", 102),
    ("0x1b", 27), ("9223372036854775807", Int.max), ("1.0", 1), ("0.000000000000000000000001E", 0),
  ])
  func reads(_ text: String, _ value: Int) throws {
    #expect(try Notation.parse(text) == UInt64(value))
  }

  @Test(arguments: [
    ("", Notation.ParseError.empty), ("k", .notANumber("k")), ("-1", .tooLarge("-1")),
    ("1x", .unknownSuffix("1x")),
    ("1kB", .unknownSuffix("1kB")), ("1.5", .notANumber("1.5")), ("1.", .notANumber("1.")),
    ("0x", .notANumber("0x")),
    ("0xg", .notANumber("0xg")), ("8E", .tooLarge("8E")),
    ("9223372036854775808", .tooLarge("9223372036854775808")),
    ("99999999999999999999", .tooLarge("99999999999999999999")),
    ("0x10000000000000000", .tooLarge("0x10000000000000000")),
    ("1 k", .notANumber("1 k")), ("١", .notANumber("١")),
  ])
  func refuses(_ text: String, _ error: Notation.ParseError) {
    #expect(throws: error) { try Notation.parse(text) }
  }

  /// What `qemu-img info` prints for these sizes.
  @Test(arguments: [
    (0, "0 B"), (512, "512 B"), (999, "999 B"), (1000, "0.977 KiB"), (1024, "1 KiB"), (200704, "196 KiB"),
    (1023 << 10, "0.999 MiB"), (64 << 20, "64 MiB"), (3 << 29, "1.5 GiB"), (1 << 40, "1 TiB"),
    (1 << 60, "1 EiB"),
    (614400, "600 KiB"), (1_234_567, "1.18 MiB"), (12_345_678, "11.8 MiB"), (123_456_789, "118 MiB"),
  ])
  func sizesForPeople(_ bytes: Int, _ text: String) {
    #expect(Notation.human(UInt64(bytes)) == text)
  }

  @Test(arguments: [
    (512, "512"), (342016, "334K"), (6710886400, "6.25G"), (65536, "64K"), (67584, "66K"),
    (1023 << 10, "1023K"), (14 << 20, "14M"),
  ])
  func sizesInLittleRoom(_ bytes: Int, _ text: String) {
    #expect(Notation.compact(UInt64(bytes)) == text)
  }

  @Test func hexadecimal() {
    #expect(Notation.hex(0x60000, width: 10) == "0000060000")
    #expect(Notation.hexWidth(for: 0xc0800) == 6)
    #expect(Notation.hexWidth(for: 1 << 40) == 10)
    #expect(Notation.entry(0x8000_0000_0004_0000) == "80000000 00040000")
  }
}
