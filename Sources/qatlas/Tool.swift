// Which program this is: started through a name that ends in "qemu-img" or "qemu-io" it stands in for
// that tool, with its name in front of messages, its defaults and its exit codes.

import Storage

/// The program's name and what follows from it.
enum Tool {
  case qatlas, imageTool, ioTool

  /// The last part of the name the program was started through.
  private static let startName: String = {
    let word = unsafe CommandLine.unsafeArgv[0].map { unsafe ByteText.text(cString: $0) } ?? ""
    return String(word.split(separator: "/").last ?? "qatlas")
  }()

  static let current: Tool =
    startName.hasSuffix("qemu-img") ? .imageTool : startName.hasSuffix("qemu-io") ? .ioTool : .qatlas

  /// What stands in front of messages.
  static let name: String = current == .qatlas ? "qatlas" : startName

  /// Started as another tool, which people and scripts expect to behave as it does.
  static var isStandIn: Bool { current != .qatlas }
}
