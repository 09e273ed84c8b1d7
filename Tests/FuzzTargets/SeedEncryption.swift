// A LUKS header of 592 bytes that opens: its key material is all zeroes, so that it need not be in the
// file, and the digest is that of the key which zeroes give with this passphrase and salt.

import QcowFormat

enum SeedEncryption {
  /// Sectors of the stripes of a key of 32 bytes, as every slot has them.
  private static let slotSectors: UInt64 = 256
  /// Header and slots.
  static let areaLength: UInt64 = 4096 + 8 * slotSectors * 512

  /// Of the key; it depends on everything else in the header.
  private static let digest: [UInt8] = [
    0xb6, 0x3d, 0xa5, 0xd6, 0x4b, 0x59, 0xbb, 0xdd, 0x37, 0x8f,
    0x56, 0xf2, 0xf8, 0x7d, 0x8c, 0xf2, 0x3e, 0xf2, 0xba, 0xb8,
  ]

  static func header() -> [UInt8] {
    var bytes: [UInt8] = [0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe, 0, 1]
    func text(_ value: String, _ width: Int) {
      bytes += Array(value.utf8) + [UInt8](repeating: 0, count: width - value.utf8.count)
    }
    text("aes", 32)
    text("xts-plain64", 32)
    text("sha256", 32)
    BigEndian.append(areaLength / 512, width: 4, to: &bytes)
    BigEndian.append(32, width: 4, to: &bytes)
    bytes += digest
    bytes += [UInt8](repeating: 0x11, count: 32)
    BigEndian.append(2, width: 4, to: &bytes)
    text("00000000-0000-0000-0000-000000000000", 40)
    for slot in UInt64(0)..<8 {
      BigEndian.append(slot == 0 ? 0x00ac_71f3 : 0xdead, width: 4, to: &bytes)
      BigEndian.append(slot == 0 ? 3 : 0, width: 4, to: &bytes)
      bytes += [UInt8](repeating: slot == 0 ? 0x22 : 0, count: 32)
      BigEndian.append(8 + slot * slotSectors, width: 4, to: &bytes)
      BigEndian.append(4000, width: 4, to: &bytes)
    }
    return bytes
  }
}
