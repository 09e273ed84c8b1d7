// What the commands that people and scripts start most are without options, and the few that are taken as they are.

import ArgumentParser

/// A command that looks at one image.
protocol PlainLooking: PlainCommand {
  var image: String { get set }
  var format: String? { get set }
  var output: OutputOptions { get set }
}

extension PlainLooking {
  static var mayLackImage: Bool { false }

  mutating func take(image: String) { self.image = image }

  mutating func take(flag: String) -> Bool {
    switch flag {
    case "--output=json": output.output = "json"
    case "--json": output.json = true
    default: return false
    }
    return true
  }

  mutating func take(option: String, value: String) -> Bool {
    switch option {
    case "-f": format = value
    case "--output": output.output = value
    default: return false
    }
    return true
  }
}

extension InfoCommand: PlainLooking {
  static var plain: Self {
    var command = Self()
    command.format = nil
    command.output = .plain
    command.backingChain = false
    command.limits = false
    command.cache = nil
    command.chain = .plain
    command.share = .plain
    command.unlock = .plain
    command.word = .plain
    return command
  }
}

extension MapCommand: PlainLooking {
  static var plain: Self {
    var command = Self()
    command.format = nil
    command.output = .plain
    command.start = nil
    command.length = nil
    command.chain = .plain
    command.share = .plain
    command.unlock = .plain
    command.word = .plain
    return command
  }
}

extension CheckCommand: PlainLooking {
  static var plain: Self {
    var command = Self()
    command.format = nil
    command.output = .plain
    command.quiet = false
    command.details = false
    command.all = false
    command.word = .plain
    command.repair = nil
    command.dropsLeaks = false
    command.isDry = false
    command.sourceCache = nil
    command.share = .plain
    command.unlock = .plain
    return command
  }
}

extension Explore: PlainCommand {
  static var plain: Self {
    var command = Self()
    command.image = nil
    command.readOnly = false
    command.readWrite = false
    command.salvage = false
    command.follow = false
    command.opening = .plain
    command.ascii = false
    command.color = nil
    command.theme = nil
    command.noMouse = false
    command.noConfig = false
    command.script = nil
    command.replay = nil
    command.lesson = nil
    command.lessonStep = nil
    command.lessonFolder = nil
    command.lessons = false
    command.newImage = nil
    command.labels = nil
    return command
  }

  static var mayLackImage: Bool { true }

  mutating func take(image: String) { self.image = image }

  mutating func take(flag: String) -> Bool {
    switch flag {
    case "--ro": readOnly = true
    case "--rw": readWrite = true
    case "--no-config": noConfig = true
    default: return false
    }
    return true
  }

  mutating func take(option: String, value: String) -> Bool { false }
}
