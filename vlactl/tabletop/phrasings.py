"""How each task is said: phrasings to train on, a held-out one of known words, and paraphrases of unknown ones.

Pure data for :mod:`vlactl.tabletop.tasks`.  Three rules, held by tests: the *validation* phrasing is never trained on
but has only words that some training phrasing of its task has; every *paraphrase* has a word that no training phrasing
of any task has (the "novel description" of the paper's unseen settings); and tasks that could be confused (left and
right, on and off, stack and unstack, the three places to lift from, the two to put into) differ in more than one word
in every pairing of their phrasings, because tiny policies lose the grounding of a single word.  That is why opposites
have whole vocabularies of their own: a block is *pushed to the right side* but *swept towards the left edge*, *rotated
clockwise* but *twisted counterclockwise*.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

COLOURS = ("red", "blue", "pink")
"""Of the blocks, as texts say them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Phrasing:
    """Everything that is said for one task; block colours are literal words."""

    train: tuple[str, ...]
    validation: str
    paraphrases: tuple[str, ...]

    def texts(self, instructions: str) -> tuple[str, ...]:
        """What can be said under ``training``, ``validation`` or ``paraphrased`` instructions."""
        return {"training": self.train, "validation": (self.validation,), "paraphrased": self.paraphrases}[instructions]


def recoloured(text: str, names: Mapping[str, str]) -> str:
    """``text`` with each colour word that is a key of ``names`` replaced by its value, all at once."""
    if not names:
        return text
    return re.sub(rf"\b({'|'.join(map(re.escape, names))})\b", lambda found: names[found[0]], text)


def _of_colour(phrasing: Phrasing, colour: str) -> Phrasing:
    return Phrasing(train=tuple(text.format(c=colour) for text in phrasing.train),
                    validation=phrasing.validation.format(c=colour),
                    paraphrases=tuple(text.format(c=colour) for text in phrasing.paraphrases))


_BLOCKS = {
    "rotate_{c}_block_right": Phrasing(
        train=("rotate the {c} block to the right", "take the {c} block and rotate it to the right",
               "rotate the {c} block clockwise", "turn the {c} block clockwise, to the right",
               "take the {c} block and turn it clockwise", "take hold of the {c} block and rotate it clockwise",
               "turn the {c} block to the right where it stands", "rotate the {c} block clockwise on the table",
               "hold the {c} block and turn it clockwise"),
        validation="take the {c} block and turn it to the right",
        paraphrases=("pivot the {c} block to the right", "swivel the {c} brick clockwise",
                     "turn the {c} block the way the hands of a clock run")),
    "rotate_{c}_block_left": Phrasing(
        train=("twist the {c} block towards the left", "grab the {c} block and twist it towards the left",
               "twist the {c} block counterclockwise", "spin the {c} block counterclockwise, towards the left",
               "grab the {c} block and spin it counterclockwise", "get a grip on the {c} block and twist it leftwards",
               "spin the {c} block leftwards on the spot", "twist the {c} block counterclockwise on its spot",
               "grip the {c} block and spin it counterclockwise"),
        validation="grab the {c} block and spin it towards the left",
        paraphrases=("revolve the {c} brick leftwards", "twirl the {c} block towards the left",
                     "spin the {c} brick anticlockwise")),
    "push_{c}_block_right": Phrasing(
        train=("push the {c} block to the right side", "push the {c} block rightwards, to the right",
               "go push the {c} block right", "push the {c} block over the table to the right",
               "move the {c} block to the right side by pushing", "push right against the {c} block, to the right",
               "move the {c} block further to the right side", "push the {c} block until it is further right",
               "go and move the {c} block to the right"),
        validation="go push the {c} block to the right",
        paraphrases=("shove the {c} block over to the right", "nudge the {c} brick rightwards",
                     "make the {c} block travel to the right-hand side")),
    "push_{c}_block_left": Phrasing(
        train=("sweep the {c} block towards the left edge", "sweep the {c} block leftwards, towards the left",
               "now sweep the {c} block left", "sweep the {c} block along the table towards the left",
               "shift the {c} block towards the left edge by sweeping",
               "sweep left against the {c} block, towards the left",
               "shift the {c} block farther towards the left edge", "sweep the {c} block so that it ends farther left",
               "now shift the {c} block towards the left"),
        validation="now sweep the {c} block towards the left",
        paraphrases=("brush the {c} brick towards the left edge", "herd the {c} block along, leftwards",
                     "sweep the {c} brick in the direction of the left border")),
    "lift_{c}_block_table": Phrasing(
        train=("lift the {c} block", "lift the {c} block from the table", "grasp the {c} block and lift it up",
               "pick up the {c} block", "pick the {c} block up from the table", "take the {c} block and raise it",
               "grasp the {c} block", "raise the {c} block off the table", "lift up the {c} block with the gripper"),
        validation="grasp and lift the {c} block",
        paraphrases=("hoist the {c} block", "elevate the {c} brick above the table",
                     "seize the {c} block and bring it up into the air")),
    "lift_{c}_block_slider": Phrasing(
        train=("fetch the {c} block from the sliding cabinet",
               "reach into the sliding cabinet and fetch the {c} block",
               "lift the {c} block out of the sliding cabinet", "fetch the {c} block from beside the sliding door",
               "reach past the sliding door and lift out the {c} block",
               "fetch the {c} block standing beside the sliding door",
               "get the {c} block out of the cabinet with the sliding door",
               "reach beside the sliding door to get the {c} block",
               "fetch the {c} block, it stands in the cabinet"),
        validation="lift the {c} block from the sliding cabinet",
        paraphrases=("retrieve the {c} block from the sliding cabinet", "extract the {c} brick from the open niche",
                     "pluck the {c} block from the compartment beside the sliding door")),
    "lift_{c}_block_drawer": Phrasing(
        train=("collect the {c} block from inside the drawer", "take the {c} block out of the open drawer",
               "remove the {c} block that lies in the drawer", "reach down into the drawer and collect the {c} block",
               "pick the {c} block up out of the drawer", "remove the {c} block from inside the drawer",
               "take out the {c} block lying in the drawer", "collect the {c} block that lies in the open drawer",
               "dip into the drawer and take out the {c} block"),
        validation="take the {c} block from inside the drawer",
        paraphrases=("withdraw the {c} block from the drawer", "scoop the {c} brick out of the open drawer",
                     "recover the {c} block from the bottom of the drawer")),
}

_FURNITURE = {
    "move_slider_left": Phrasing(
        train=("push the door over to the left side", "move the sliding door left until it stands at the left end",
               "push the sliding panel leftwards, to the left", "bring the door across to the left end",
               "push the handle of the sliding door to the left side",
               "move the door leftwards as far as it goes, to the left",
               "push the sliding door left, over to the left side", "move the panel to the left end of the cabinet",
               "get the door over to the left side of the cabinet"),
        validation="push the sliding door to the left side",
        paraphrases=("shove the sliding door to the left", "drive the panel of the cabinet over to the left extreme",
                     "make the sliding door travel left until it stops")),
    "move_slider_right": Phrasing(
        train=("slide the door towards the right edge",
               "slide the cabinet door right so that it rests at the right edge",
               "shift the cabinet panel rightwards, towards the right", "slide the door along towards the right edge",
               "slide the grip of the cabinet door towards the right",
               "shift the door rightwards all the way, towards the right",
               "slide the cabinet door right, towards the right edge",
               "shift the panel towards the right edge of the cupboard",
               "have the door slide towards the right edge of the cupboard"),
        validation="slide the cabinet door towards the right edge",
        paraphrases=("glide the cabinet door towards the right border", "slide the shutter of the cupboard rightwards",
                     "shift the cupboard door along its rail towards the right")),
    "open_drawer": Phrasing(
        train=("pull the drawer open", "open the drawer by its handle", "pull the handle of the drawer out",
               "open up the drawer", "pull out the drawer under the table", "grab the handle and open the drawer",
               "go pull the drawer out", "draw the drawer out to open it", "hook the handle and pull until it is open"),
        validation="pull the handle to open the drawer",
        paraphrases=("tug the drawer out by its handle", "yank the handle so that the drawer comes out",
                     "extend the drawer from under the table")),
    "close_drawer": Phrasing(
        train=("push the drawer shut", "close the drawer from the front", "push the drawer back in",
               "shut the drawer again", "push in the drawer beneath the table",
               "press against the front and close the drawer", "go close and shut the drawer",
               "push against the front to shut the drawer", "push the front until the drawer is closed"),
        validation="push the front to close the drawer",
        paraphrases=("shove the drawer back in", "slam the drawer shut",
                     "press the front plate until the drawer is sealed")),
    "turn_on_lightbulb": Phrasing(
        train=("turn on the light bulb", "move the switch to light up the bulb",
               "use the switch and light the yellow bulb", "switch on the yellow lamp",
               "turn the bulb on with the switch", "toggle the switch so that the bulb shines",
               "move the switch to make the bulb shine", "light up the yellow lamp",
               "turn on the yellow bulb using the switch"),
        validation="use the switch to turn on the light bulb",
        paraphrases=("illuminate the yellow bulb", "flip the switch to make the bulb glow",
                     "activate the yellow lamp with the switch")),
    "turn_off_lightbulb": Phrasing(
        train=("put out the light bulb", "pull the lever to darken the bulb",
               "pull the lever and put the yellow bulb out",
               "put out the yellow lamp", "put the bulb out with the lever",
               "flick the lever back so that the bulb goes dark", "pull back the lever to make the bulb dark",
               "darken the yellow lamp", "pull the lever, the yellow bulb must go out"),
        validation="pull the lever to put out the light bulb",
        paraphrases=("extinguish the yellow lamp", "tip the lever back and black out the bulb",
                     "kill the yellow bulb by pulling the lever")),
    "turn_on_led": Phrasing(
        train=("turn on the led light", "press the button to light up the led", "turn on the green light",
               "push down the button to switch on the led", "press the button so that the green led shines",
               "light up the green led", "press the button until the led is on",
               "turn the green led on by pressing the button", "switch on the led"),
        validation="press the button to turn on the led light",
        paraphrases=("illuminate the green diode", "activate the led with the push button",
                     "press the button and get the green light glowing")),
    "turn_off_led": Phrasing(
        train=("put out the led light", "hit the button to darken the led", "put out the green light",
               "hit the button once and put the led out", "hit the button so that the green led goes dark",
               "darken the green led", "tap the button until the led is dark",
               "put the green led out by a hit on the button", "make the led go out"),
        validation="hit the button to put out the led light",
        paraphrases=("extinguish the led by a tap on the button", "knock on the button to black out the green led",
                     "hit the button to quench the green light")),
    "place_in_slider": Phrasing(
        train=("store the block in the sliding cabinet", "put the grasped block away in the sliding cabinet",
               "stand the grasped block in the cabinet", "store the grasped block beside the sliding door",
               "store what you have grasped in the cabinet", "put the block into the cupboard with the sliding door",
               "stand the block in the sliding cabinet, beside its door",
               "bring the grasped block to the cabinet and store it there",
               "put the grasped block into the sliding cupboard"),
        validation="store the grasped block in the sliding cabinet",
        paraphrases=("stow the grasped block in the sliding cabinet", "park the carried block in the open niche",
                     "insert the block into the compartment beside the sliding door")),
    "place_in_drawer": Phrasing(
        train=("drop the block into the open drawer", "lower the held block into the drawer",
               "release the held block over the drawer", "lay the held block down inside the drawer",
               "drop the block from the gripper into the drawer",
               "lower the block inside the open drawer and release it",
               "lay down the block that you hold in the drawer", "take the held block to the drawer and drop it",
               "let the held block drop inside the open drawer"),
        validation="drop the held block inside the drawer",
        paraphrases=("deposit the held block in the drawer", "dump the brick into the open drawer",
                     "free the held block once it hangs above the drawer")),
    "stack_block": Phrasing(
        train=("stack the block on top of another block", "place the grasped block on top of another",
               "stack the grasped block onto another one", "build a tower with the grasped block on top",
               "stack the grasped block", "make a stack of two blocks", "build a tower of two blocks",
               "place one block on top of the other", "make a tower by stacking the grasped block"),
        validation="stack the grasped block on top of the other",
        paraphrases=("perch the grasped block atop another", "assemble a column of two bricks",
                     "balance the block upon the other one")),
    "unstack_block": Phrasing(
        train=("take the upper block off the lower one", "remove the upper block from the pile",
               "take the pile of blocks apart", "lift down the upper block and set it on the table",
               "remove the upper block and leave it on the table", "take the upper block away and set it down",
               "undo the pile of blocks", "set the upper block down beside the lower one",
               "take down the upper block from the lower one"),
        validation="take the upper block from the pile",
        paraphrases=("dismantle the pile of blocks", "separate the uppermost brick from the lower one",
                     "bring the upper block down to the tabletop")),
    "push_into_drawer": Phrasing(
        train=("slide the block over the edge into the drawer",
               "push the block across the table until it falls into the drawer",
               "knock the block off the table into the drawer", "slide the block along until it falls into the drawer",
               "push the block off the edge and into the drawer", "make the block fall over the edge into the drawer",
               "sweep the block from the table into the drawer", "slide the block off the table, down into the drawer",
               "push the loose block over the edge so that it falls in the drawer"),
        validation="slide the block so that it falls into the drawer",
        paraphrases=("shove the block over the brink into the drawer",
                     "nudge the brick along until it tumbles into the drawer",
                     "propel the block past the rim and down into the drawer")),
}

PHRASINGS: dict[str, Phrasing] = {
    **{name.format(c=colour): _of_colour(phrasing, colour) for name, phrasing in _BLOCKS.items() for colour in COLOURS},
    **_FURNITURE,
}
"""By task name; all 34 of CALVIN's."""
