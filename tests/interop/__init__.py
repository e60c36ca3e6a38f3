"""The classes for other frameworks: the same trees and calls as theirs, and right numbers."""
