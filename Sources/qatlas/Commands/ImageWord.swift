// How the word for the image on the command line is meant.

import ArgumentParser

/// A file name or an option string.
struct ImageWord: PlainOptions {
  @Flag(name: .customLong("image-opts"), help: "IMAGE is an option string, driver=qcow2,file.filename=…")
  var isOptions = false

  static var plain: Self {
    var word = Self()
    word.isOptions = false
    return word
  }
}
